"""Frozen attrs classes to plain JSON values and back, strictly: for what is remembered on disk. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from sys import intern
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import attrs

T = TypeVar("T")


def dump(value: object) -> Any:
    """What ``json.dumps`` takes: attrs classes become objects, times ISO 8601, tuples lists."""
    kind: type = type(value)
    if attrs.has(kind):
        return {name: dump(getattr(value, name)) for name in _hints(kind)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [dump(item) for item in value]
    if isinstance(value, Mapping):
        return {key: dump(item) for key, item in value.items()}
    return value


def load(kind: type[T], plain: object) -> T:
    """
    The ``kind`` (an attrs class, a scalar, ``X | None``, ``tuple[X, ...]``, ``dict[str, X]``) that ``dump`` was given.

    Keys that are not known are left to newer versions; those that are missing take their defaults.

    :raises TypeError, ValueError: ``plain`` is something else.
    """
    result: T = _reader(cast(Any, kind))(plain)
    return result


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What reads values of a kind: found out once, used for thousands of records. Kinds may hold themselves."""
    if isinstance(kind, UnionType):
        (some,) = (each for each in get_args(kind) if each is not NoneType)
        return lambda plain: None if plain is None else _reader(some)(plain)
    if get_origin(kind) is tuple:
        each = get_args(kind)[0]
        return lambda plain: tuple([_reader(each)(item) for item in _typed(plain, list)])
    if get_origin(kind) is dict:
        each = get_args(kind)[1]
        return lambda plain: {key: _reader(each)(item) for key, item in _typed(plain, dict).items()}
    if kind is datetime:
        return lambda plain: _time(_typed(plain, str))
    if kind is float:
        return lambda plain: float(plain) if type(plain) is int else _typed(plain, float)
    if kind is str:  # names, most of which are in memory already
        return lambda plain: intern(_typed(plain, str))
    if not attrs.has(kind):
        return lambda plain: _typed(plain, kind)
    return _instance(kind)


def _instance(kind: Any) -> Callable[[Any], Any]:
    hints = _hints(kind).items()

    def read(plain: Any) -> Any:
        fields = _typed(plain, dict)
        return kind(**{name: _reader(hint)(fields[name]) for name, hint in hints if name in fields})

    return read


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in attrs.fields(kind)}


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.utcoffset() is None:
        raise ValueError(f"{text} has no time zone")
    return time


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
