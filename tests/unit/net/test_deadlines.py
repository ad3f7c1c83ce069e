"""One sweep a second ends what is overdue."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from appliance.net.deadlines import NEVER, Deadlines


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


class Crowd:
    """A hundred that are due at once; ``interlude`` happens in the reactor's next turn after the first was told."""

    def __init__(self, clock: Clock, deadlines: Deadlines, interlude: Callable[[Crowd], None]) -> None:
        self.told_before = 0
        self._asked = False
        self._clock = clock
        self._interlude = interlude
        self.all = [Timed(1, self._hurry) for _ in range(100)]
        for each in self.all:
            deadlines.add(each)

    def _hurry(self) -> None:
        if not self._asked:
            self._asked = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self.told_before = sum(self.told)
        self._interlude(self)

    @property
    def told(self) -> list[int]:
        """How often each was told, the least told first."""
        return sorted(len(each.expired) for each in self.all)

    @property
    def left(self) -> list[Timed]:
        """Who was not told yet."""
        return [each for each in self.all if not each.expired]


def test_a_crowd(clock: Clock, deadlines: Deadlines) -> None:
    """When very many are due the reactor's other work is done in between; who ends or moves meanwhile is not told."""

    def end_one_and_move_one(crowd: Crowd) -> None:
        deadlines.discard(crowd.left[0])
        crowd.left[1].deadline = 50

    crowd = Crowd(clock, deadlines, end_one_and_move_one)
    clock.advance(1)
    assert 0 < crowd.told_before < 50
    assert crowd.told == [0, 0] + [1] * 98


def test_a_crowd_for_longer_than_a_sweep(clock: Clock, deadlines: Deadlines) -> None:
    """A sweep that begins before the last one's are through tells nobody twice."""
    crowd = Crowd(clock, deadlines, lambda crowd: deadlines.sweep())
    clock.advance(1)
    assert 0 < crowd.told_before < 50
    assert crowd.told == [1] * 100


def test_stopped_amid_a_crowd(clock: Clock, deadlines: Deadlines) -> None:
    """Those that were due are not told after the end."""
    crowd = Crowd(clock, deadlines, lambda crowd: deadlines.stopService())
    clock.advance(1)
    assert clock.getDelayedCalls() == []
    clock.pump([1.0] * 3)
    assert sum(crowd.told) == crowd.told_before < 50
