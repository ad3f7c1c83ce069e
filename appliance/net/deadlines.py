"""Deadlines without timers: a number on each connection, and one sweep a second over them all."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

NEVER = inf

_AT_ONCE = 32
"""So many expire before the reactor sees to others again: each may be answered a page, and thousands can be due."""


class Expiring(Protocol):
    """Something with a deadline, in seconds of the monotonic clock."""

    deadline: float

    def expire(self, now: float) -> None:
        """Called once the deadline has passed; must move it or end the connection."""


class Deadlines(Service):
    """Everything whose time may run out. ``seconds`` is the clock the deadlines are told in."""

    log = Logger()

    def __init__(self, clock: IReactorTime, interval: float = 1.0) -> None:
        self._clock = clock
        self.seconds: Callable[[], float] = clock.seconds
        self._interval = interval
        self._expiring: set[Expiring] = set()
        self._overdue: list[Expiring] = []
        self._going_on: IDelayedCall | None = None
        self._loop = LoopingCall(self.sweep)
        self._loop.clock = clock
        self.add = self._expiring.add
        self.discard = self._expiring.discard

    def __len__(self) -> int:
        return len(self._expiring)

    def startService(self) -> None:
        """Begin sweeping."""
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(self._interval, now=False)

    def stopService(self) -> None:
        """Stop sweeping; nothing expires any more."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        if self._going_on is not None:
            self._going_on.cancel()
            self._going_on = None

    def sweep(self) -> None:
        """Expire all that is overdue, a few in each turn of the reactor; one that fails does not spare the others."""
        now = self.seconds()
        self._overdue = [each for each in self._expiring if each.deadline <= now]
        if self._going_on is None:
            self._expire_some()

    def _expire_some(self) -> None:
        self._going_on = None
        now = self.seconds()
        some, self._overdue = self._overdue[:_AT_ONCE], self._overdue[_AT_ONCE:]
        for overdue in some:
            if overdue.deadline > now or overdue not in self._expiring:  # it moved or ended in the meantime
                continue
            try:
                overdue.expire(now)
            except Exception:
                self.discard(overdue)
                self.log.failure("A connection could not be expired")
        if self._overdue and self.running:
            self._going_on = self._clock.callLater(0, self._expire_some)
