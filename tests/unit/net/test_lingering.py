"""Waiting for the ends of clients: each for its time, with one timer for all."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher

from appliance.net.lingering import LINGER, Lingering


class Connection:
    """What `Lingering` asks of a connection."""

    def __init__(self, error: Exception | None = None) -> None:
        self.lost: Any = None
        self._error = error

    def connectionLost(self, reason: Any) -> None:
        self.lost = reason
        if self._error is not None:
            raise self._error


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def lingering(clock: Clock) -> Any:
    """Nobody waits yet."""
    return Lingering(clock)


def test_each_has_its_time(clock: Clock, lingering: Any) -> None:
    """Connections end when they have waited for so long, not before; those that ended by themselves are left alone."""
    first, second, gone = Connection(), Connection(), Connection()
    lingering.add(first)
    clock.advance(2)
    lingering.add(gone)
    lingering.add(second)
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(LINGER - 2 - 0.001)
    assert first.lost is None
    clock.advance(0.002)
    assert first.lost.check(ConnectionDone)
    lingering.discard(gone, None)
    assert second.lost is None
    clock.advance(2)
    assert second.lost.check(ConnectionDone)
    assert gone.lost is None
    assert not lingering
    assert not clock.getDelayedCalls()


def test_nobody_left(clock: Clock, lingering: Any) -> None:
    """A timer for connections that are gone comes to nothing; the next one to wait has its whole time."""
    connection = Connection()
    lingering.add(connection)
    lingering.discard(connection, None)
    clock.advance(LINGER - 1)
    lingering.add(connection)
    clock.advance(1)
    assert connection.lost is None
    clock.advance(LINGER - 1)
    assert connection.lost is not None


def test_stopped(clock: Clock, lingering: Any) -> None:
    """When no more can come, the timer is gone with the last one; whoever waits still has its time."""
    gone, waiting = Connection(), Connection()
    lingering.add(gone)
    lingering.add(waiting)
    lingering.stop()
    lingering.discard(gone, None)
    clock.advance(LINGER)
    assert waiting.lost.check(ConnectionDone)
    assert not clock.getDelayedCalls()
    lingering.add(gone)
    lingering.discard(gone, None)
    assert not clock.getDelayedCalls()


def test_stopped_with_nobody_left(clock: Clock, lingering: Any) -> None:
    """At once."""
    connection = Connection()
    lingering.add(connection)
    lingering.discard(connection, None)
    assert clock.getDelayedCalls()
    lingering.stop()
    assert not clock.getDelayedCalls()


def test_one_that_fails(clock: Clock, lingering: Any) -> None:
    """One whose end fails is told of in the log, and does not keep the others."""
    seen: Any = EventLoggingObserver()
    globalLogPublisher.addObserver(seen)
    failing, other = Connection(ValueError("no end")), Connection()
    lingering.add(failing)
    lingering.add(other)
    try:
        clock.advance(LINGER)
    finally:
        globalLogPublisher.removeObserver(seen)
    assert other.lost is not None
    assert [event["log_failure"].type for event in seen] == [ValueError]
    assert not lingering
