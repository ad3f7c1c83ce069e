"""Reads a tree of plain values, as TOML gives it, into classes, and notes every mistake, not only the first.

A *reader* is called with a value and its :class:`Place`, and returns what the value means or raises :class:`Refused`.
Readers are put together from smaller ones: :class:`Table`, :class:`Many`, :class:`Either`, :func:`unique`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from appliance.errors import Mistake

T = TypeVar("T")

Reader = Callable[[object, "Place"], T]

KeyPath = tuple[str | int, ...]
"""From the root: table keys as str, positions in arrays as int."""

MAX_SHOWN = 60
"""How many characters of a refused value a message repeats."""


class Refused(Exception):  # noqa: N818 - it never leaves this package as an error; Mistake is what comes of it
    """A reader's answer to a value it cannot use: why. Without a message, all that is wrong has been noted already."""


@frozen
class Document:
    """One configuration being read: where its values come from, and what is wrong with them so far."""

    schema: Reader[Any]
    """What is to be read, as a whole."""
    folder: Path
    """What relative file names are relative to."""
    lines: Callable[[], Mapping[KeyPath, int]] = dict
    """Tells the lines of a file, from 1, which are looked up for mistakes only."""
    options: Mapping[KeyPath, str] = field(factory=dict)
    """The command-line option behind a value that did not come from the file."""
    mistakes: list[Mistake] = field(factory=list)
    later: list[Callable[..., None]] = field(factory=list)
    """What tables want compared with others: called by the outermost one, which has them."""
    _seen: dict[object, Place] = field(factory=dict)

    def note(self, path: KeyPath, message: str) -> None:
        """Remember a mistake, at the line of the nearest key that is there."""
        lines = self.lines()
        for end in range(len(path), -1, -1):
            if path[:end] in self.options:
                self.mistakes.append(Mistake(self.options[path[:end]], message))
                return
            if path[:end] in lines:
                self.mistakes.append(Mistake(dotted(path), message, lines[path[:end]]))
                return
        self.mistakes.append(Mistake(dotted(path), message))

    def first(self, value: object, place: Place) -> Place:
        """Where ``value`` was first met: ``place``, unless it was somewhere else before."""
        return self._seen.setdefault(value, place)


@frozen(eq=False)
class Place:
    """Where in the document a value stands."""

    document: Document
    path: KeyPath = ()

    def __str__(self) -> str:
        return dotted(self.path)

    def at(self, step: str | int) -> Place:
        """The place of a key, or of an element, below this one."""
        return Place(self.document, (*self.path, step))

    def note(self, message: str) -> None:
        """Remember a mistake at this place."""
        self.document.note(self.path, message)

    def read(self, reader: Reader[T], value: object) -> tuple[T, ...]:
        """What ``reader`` makes of ``value``, alone in a tuple; or nothing, when it was refused, which is noted."""
        try:
            return (reader(value, self),)
        except Refused as refusal:
            if str(refusal):
                self.note(str(refusal))
            return ()


Check = Callable[[Place, Mapping[str, Any], Set[str]], None]
"""Compares the keys of a table that could be read, by name, and notes mistakes. Last come the names of the others."""


@frozen
class Table(Generic[T]):
    """Reads a table into what ``build`` makes of it, called with the keys by name.

    Keys that are left out take the defaults of ``build``. With ``at_place`` it gets the place before them, so that it
    can note mistakes or raise :class:`Refused` where only what it makes tells.
    """

    keys: Mapping[str, Reader[Any]]
    build: Callable[..., T]
    required: Mapping[str, str] = field(factory=dict)
    """The keys that must be there, each with a word on what it is for."""
    at_place: bool = False
    instead: Mapping[str, Collection[str]] = field(factory=dict)
    """For required keys: others that may stand in their place."""
    only_with: Mapping[str, str] = field(factory=dict)
    """For required keys: another one that they are for; without that they may be left out."""
    check: Check | None = None
    """Called whatever is wrong with other keys, so that what is wrong between those that are right is told at once."""

    def __call__(self, value: object, place: Place) -> T:
        """Read every key; ``build`` is only called when nothing is wrong in this table or below it."""
        if not isinstance(value, Mapping):
            hint = f": write [{place.path[-1]}] in single brackets" if isinstance(value, list) else ""
            kind = "a string" if isinstance(value, str) else shown(value)  # there may be secrets in that table
            raise Refused(f"must be a table, not {kind}{hint}")
        before = len(place.document.mistakes)
        results: dict[str, Any] = {}
        for key, given in value.items():
            if key in self.keys:
                results.update((key, result) for result in place.at(key).read(self.keys[key], given))
        self._check_keys(value, place)
        if self.check is not None:
            self.check(place, results, value.keys() - results.keys())
        if len(place.document.mistakes) > before:
            raise Refused
        return self.build(place, **results) if self.at_place else self.build(**results)

    def _check_keys(self, given: Mapping[str, object], place: Place) -> None:
        """Note keys that are unknown, and keys that are missing unless an unknown one looks like them."""
        missing = {
            key: purpose
            for key, purpose in self.required.items()
            if key not in self.only_with or self.only_with[key] in given
            if not given.keys() & self.instead.get(key, ())
        }
        for key in given:
            missing.pop(key, None)
            if key not in self.keys:
                near = difflib.get_close_matches(key, self.keys.keys() - given.keys(), n=1)
                missing.pop(near[0] if near else key, None)
                place.at(key).note(f"is not known here: {self._hint(key, near, place.document)}")
        for key, purpose in missing.items():
            place.at(key).note(f"is missing: {purpose}")

    def _hint(self, key: str, near: list[str], document: Document) -> str:
        """What an unknown key may have been meant to be: misspelt, or put below the wrong table's header."""
        homes = [path[:-1] for path in key_paths(document.schema) if path[-1] == key]
        if homes:
            return f"it belongs in [{'.'.join(homes[0])}]" if homes[0] else "it belongs above the first [table]"
        return f"did you mean {near[0]}?" if near else f"the keys are {', '.join(self.keys)}"


@frozen
class Many(Generic[T]):
    """Reads a non-empty array, or with ``or_one`` a single value in its place, into a tuple."""

    item: Reader[T]
    or_one: bool = False

    def __call__(self, value: object, place: Place) -> tuple[T, ...]:
        """Read every element, noting what is wrong with each; nothing may be."""
        if self.or_one and not isinstance(value, list):
            return (self.item(value, place),)
        if not isinstance(value, list):
            hint = f": write [[{place.path[-1]}]] in double brackets" if isinstance(value, Mapping) else ""
            raise Refused(f"must be a list, not {shown(value)}{hint}")
        if not value:
            raise Refused("must not be empty")
        results: list[T] = []
        for position, element in enumerate(value):
            results.extend(place.at(position).read(self.item, element))
        if len(results) < len(value):
            raise Refused
        return tuple(results)


@frozen
class Either(Generic[T]):
    """Reads a table where there is one, and with ``short`` anything else in its place."""

    short: Reader[T]
    table: Table[T]

    def __call__(self, value: object, place: Place) -> T:
        """Read what is there."""
        return self.table(value, place) if isinstance(value, Mapping) else self.short(value, place)


def unique(reader: Reader[T], depth: int = 0) -> Reader[T]:
    """Refuse a value that stands twice in one table: the one that ``path[:depth]`` leads to."""

    def read(value: object, place: Place) -> T:
        result = reader(value, place)
        earlier = place.document.first((reader, place.path[:depth], result), place)
        if earlier is not place:
            raise Refused(f"{result} is there already, at {earlier}")
        return result

    return read


def key_paths(reader: Reader[Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key a schema knows, by its path without positions: ``("site", "route", "path")``."""
    if isinstance(reader, Many):
        yield from key_paths(reader.item, above)
    elif isinstance(reader, Either):
        yield from key_paths(reader.table, above)
    elif isinstance(reader, Table):
        for key, below in reader.keys.items():
            yield (*above, key)
            yield from key_paths(below, (*above, key))


def dotted(path: KeyPath) -> str:
    """Write a path as operators read it: ``site[1].route[0].upstream``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def shown(value: object) -> str:
    """A refused value, as a message may repeat it: by kind when it is large, cut when it is long."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**MAX_SHOWN:
        return f"a number of more than {MAX_SHOWN} digits"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
