"""Deadlines without timers: a number on each connection, and one sweep a second over them all."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

NEVER = inf


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

    def sweep(self) -> None:
        """Expire all that is overdue; one that fails does not spare the others."""
        now = self.seconds()
        for overdue in [each for each in self._expiring if each.deadline <= now]:
            if overdue.deadline > now:  # an earlier one's end moved it
                continue
            try:
                overdue.expire(now)
            except Exception:
                self.discard(overdue)
                self.log.failure("A connection could not be expired")
