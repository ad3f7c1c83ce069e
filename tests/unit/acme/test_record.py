"""Attrs classes on disk."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import field, frozen

from appliance.acme.record import dump, load

NOW = datetime(2027, 1, 1, tzinfo=UTC)


@frozen
class Inner:
    name: str
    at: datetime | None = None


@frozen
class Outer:
    inner: Inner
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = field(factory=dict)
    share: float = 0.5
    number: int = 1
    flag: bool = False


FULL = Outer(Inner("a"), (Inner("b", NOW),), {"c": Inner("d")}, 0.25, 7, True)


def test_round_trip() -> None:
    """Through JSON text and back."""
    assert load(Outer, json.loads(json.dumps(dump(FULL)))) == FULL


def test_missing_and_unknown() -> None:
    """What is missing takes its default, what is unknown is ignored."""
    assert load(Outer, {"inner": {"name": "a", "colour": "red"}}) == Outer(Inner("a"))
    assert load(Outer, {"inner": {"name": "a"}, "share": 1}).share == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        None,
        {},
        {"inner": None},
        {"inner": {"name": 1}},
        {"inner": {"name": "a", "at": "2027-01-01T00:00:00"}},
        {"inner": {"name": "a", "at": "soon"}},
        {"inner": {"name": "a", "at": 1}},
        {"inner": {"name": "a"}, "many": {}},
        {"inner": {"name": "a"}, "many": [1]},
        {"inner": {"name": "a"}, "named": []},
        {"inner": {"name": "a"}, "number": True},
        {"inner": {"name": "a"}, "number": 1.0},
        {"inner": {"name": "a"}, "flag": 1},
    ],
)
def test_anything_else(wrong: Any) -> None:
    """Is refused with one of two errors."""
    with pytest.raises((TypeError, ValueError)):
        load(Outer, wrong)
