"""One sweep a second ends what is overdue."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from appliance.deadlines import NEVER, Deadlines


class Timed:
    """Something with a deadline; ``then`` is what it does when that has passed."""

    def __init__(self, deadline: float, then: Callable[[], None] = lambda: None) -> None:
        self.deadline = deadline
        self.expired: list[float] = []
        self._then = then

    def expire(self, now: float) -> None:
        self.expired.append(now)
        self.deadline = NEVER
        self._then()


@pytest.fixture
def clock() -> Clock:
    """Time, standing still."""
    return Clock()


@pytest.fixture
def deadlines(clock: Clock) -> Iterator[Deadlines]:
    """Running on that clock."""
    made = Deadlines(clock)
    made.startService()
    yield made
    made.stopService()


def test_sweeps(clock: Clock, deadlines: Deadlines) -> None:
    """What is overdue is told within a second, once; what is not is left alone."""
    soon, later, never = Timed(2.5), Timed(60), Timed(NEVER)
    for each in (soon, later, never):
        deadlines.add(each)
    clock.pump([1.0] * 10)
    assert (soon.expired, later.expired, never.expired) == ([3.0], [], [])
    assert len(deadlines) == 3


def test_discarded(clock: Clock, deadlines: Deadlines) -> None:
    """What is gone is not told."""
    gone = Timed(1)
    deadlines.add(gone)
    deadlines.discard(gone)
    deadlines.discard(gone)
    clock.pump([1.0] * 3)
    assert gone.expired == []
    assert len(deadlines) == 0


def test_moved_meanwhile(clock: Clock, deadlines: Deadlines) -> None:
    """What another one's end gave more time, in the same sweep, is spared."""
    pair: list[Timed] = []

    def spare_the_others() -> None:
        for each in pair:
            each.deadline = max(each.deadline, 99)

    pair += [Timed(1, spare_the_others), Timed(1, spare_the_others)]
    for each in pair:
        deadlines.add(each)
    clock.pump([1.0] * 3)
    assert sorted(len(each.expired) for each in pair) == [0, 1]


def test_failure_spares_the_others(clock: Clock, deadlines: Deadlines) -> None:
    """One that fails is logged and forgotten, and the others are told."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    try:

        def fail() -> None:
            raise RuntimeError("no")

        broken = [Timed(1, fail) for _ in range(3)]
        well = Timed(1)
        for each in (*broken, well):
            deadlines.add(each)
        clock.pump([1.0] * 3)
    finally:
        globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]
    assert well.expired == [1.0]
    assert [len(each.expired) for each in broken] == [1, 1, 1]
    assert sum("log_failure" in event for event in events) == 3
    assert len(deadlines) == 1


def test_stopped(clock: Clock, deadlines: Deadlines) -> None:
    """After the service has stopped, and before it has started, nothing expires."""
    one = Timed(1)
    deadlines.add(one)
    deadlines.stopService()
    deadlines.stopService()
    clock.pump([1.0] * 3)
    assert one.expired == []
    assert clock.getDelayedCalls() == []
    deadlines.startService()
    clock.pump([1.0] * 3)
    assert one.expired == [4.0]
