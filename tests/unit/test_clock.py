"""Timers on a monotonic clock; the wall clock aware and in UTC."""

import time
from datetime import timedelta

import pytest
from twisted.internet import reactor as global_reactor
from twisted.internet.base import ReactorBase
from twisted.internet.epollreactor import EPollReactor

from appliance.clock import make_monotonic, utc_now


class Wall:
    """A wall clock that the test sets."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def reactor(wall: Wall):
    """A reactor of its own, as Twisted makes them: its timers on the wall clock."""
    reactor = EPollReactor()
    reactor.seconds = wall
    yield reactor
    reactor.disconnectAll()
    for reader in reactor._internalReaders:
        reader.connectionLost(None)
    reactor._poller.close()


def remaining(reactor: ReactorBase) -> float | None:
    """How long the reactor would sleep now."""
    return reactor.timeout()


def test_utc_now_is_aware() -> None:
    """The wall clock carries its time zone, UTC."""
    assert utc_now().utcoffset() == timedelta(0)
    assert abs(utc_now().timestamp() - time.time()) < 5


def test_twisted_still_needs_this() -> None:
    """Once Twisted's reactors are monotonic by themselves, the module under test can go."""
    assert type(global_reactor).seconds is time.time


def test_new_calls_ignore_the_wall_clock(reactor: ReactorBase, wall: Wall) -> None:
    """A jump of the wall clock, back or forward, neither delays nor fires a call."""
    make_monotonic(reactor)
    fired: list[int] = []
    reactor.callLater(1000, fired.append, 1)
    for jump in (-3600, 7200):
        wall.time += jump
        reactor.runUntilCurrent()
        assert not fired
        assert 990 < remaining(reactor) <= 1000


def test_the_wall_clock_would_matter_otherwise(reactor: ReactorBase, wall: Wall) -> None:
    """What the module prevents: an untreated reactor fires early when the wall clock jumps forward."""
    fired: list[int] = []
    reactor.callLater(1000, fired.append, 1)
    wall.time += 3600
    reactor.runUntilCurrent()
    assert fired == [1]


def test_pending_calls_keep_their_delay(reactor: ReactorBase) -> None:
    """Calls made before the change fire after the delay they have left, in the same order."""
    fired: list[str] = []
    reactor.callLater(500, fired.append, "late")
    reactor.callLater(0, fired.append, "now")
    make_monotonic(reactor)
    reactor.runUntilCurrent()
    assert fired == ["now"]
    assert 490 < remaining(reactor) <= 500


def test_overdue_calls_fire_at_once(reactor: ReactorBase, wall: Wall) -> None:
    """A call whose time has passed already is not put off."""
    fired: list[int] = []
    reactor.callLater(5, fired.append, 1)
    wall.time += 60
    make_monotonic(reactor)
    reactor.runUntilCurrent()
    assert fired == [1]


def test_pending_calls_can_still_be_moved(reactor: ReactorBase) -> None:
    """``reset`` and ``delay`` of a call from before count on the monotonic clock."""
    call = reactor.callLater(500, list)
    reactor.timeout()
    make_monotonic(reactor)
    call.reset(100)
    assert 90 < remaining(reactor) <= 100
    call.delay(100)
    reactor.runUntilCurrent()
    assert call.active()
    assert 190 < call.getTime() - time.monotonic() <= 200


def test_cancelled_calls_do_not_block_the_others(reactor: ReactorBase) -> None:
    """Cancelled calls, which stay in the reactor's heap with their old times, hold up nothing."""
    fired: list[int] = []
    calls = [reactor.callLater(delay, fired.append, delay) for delay in range(10)]
    reactor.timeout()  # moves them into the heap
    for call in calls[:5]:
        call.cancel()
    make_monotonic(reactor)
    assert 4 < remaining(reactor) <= 5
    reactor.callLater(0, fired.append, -1)
    reactor.runUntilCurrent()
    assert fired == [-1]


def test_clock_that_was_never_set(reactor: ReactorBase, wall: Wall) -> None:
    """A machine without a battery, its wall clock behind the monotonic one: delays are kept all the same."""
    wall.time = 1.0
    reactor.callLater(500, list)
    reactor.timeout()
    make_monotonic(reactor)
    reactor.runUntilCurrent()
    assert 490 < remaining(reactor) <= 500


def test_twice_is_once(reactor: ReactorBase) -> None:
    """A second call changes nothing."""
    make_monotonic(reactor)
    call = reactor.callLater(500, list)
    before = call.getTime()
    make_monotonic(reactor)
    assert call.getTime() == before
