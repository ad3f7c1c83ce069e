"""Moments for many sites."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from appliance.acme.pace import Pace

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Wall:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def test_some_at_once_then_one_by_one() -> None:
    """The first few need not wait; after a rest there are as many again, but no more."""
    wall = Wall()
    pace = Pace(wall, 3, SECOND)
    assert [pace.slot() - NOW for _ in range(5)] == [0 * SECOND, 0 * SECOND, 0 * SECOND, SECOND, 2 * SECOND]
    wall.now = NOW + 100 * SECOND
    assert [pace.slot() - wall.now for _ in range(4)] == [0 * SECOND, 0 * SECOND, 0 * SECOND, SECOND]


def test_a_clock_that_is_set_back() -> None:
    """Moments of days to come are not waited for."""
    wall = Wall()
    pace = Pace(wall, 1, SECOND)
    pace.slot()
    wall.now = NOW - timedelta(days=30)
    assert pace.slot() == wall.now
