"""The figures of the status page, read out of its HTML, and what the status document says in their place."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


def figures(html: str) -> dict[str, Any]:
    """What each ``data-from`` of a page is said to be: numbers, times, or None."""
    reader = _Reader()
    reader.feed(html)
    return reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        place = given.get("data-from")
        if place is None:
            return
        value = given["datetime"] if tag == "time" else _number(given["value"])
        assert self.found.setdefault(place, value) == value, f"{place} is told in two ways"


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def look_up(status: Any, place: str) -> Any:
    """What stands there; a site is looked up by its name; None where a part of the way is None."""
    found = status
    for key in place.split("/"):
        if found is None:
            return None
        if isinstance(found, list):
            found = found[int(key)] if key.isdigit() else next(each for each in found if each.get("site") == key)
        else:
            found = found[key]
    return found
