"""How many orders there may be at once, without letting those that hang keep the others waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

PATIENCE = 45.0
"""Seconds after which an order that is still under way no longer counts. Ordinary ones take a few."""


class Turns:
    """At most ``count`` orders that are younger than ``PATIENCE``."""

    def __init__(self, clock: IReactorTime, count: int) -> None:
        self._clock = clock
        self._count = count
        self._slots = DeferredSemaphore(count)
        self._held = 0
        self._closed: Deferred[None] | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for as long as the block takes, or ``PATIENCE``."""
        slots = self._slots
        await slots.acquire()
        if self._closed is not None:
            await Deferred()  # until whoever waits is cancelled
        self._held += 1
        patience = self._clock.callLater(PATIENCE, self._give_back, slots)
        try:
            yield
        finally:
            if patience.active():
                patience.cancel()
                self._give_back(slots)

    def close(self) -> Deferred[None]:
        """Give no more turns; fire when those that there are have been given back, or no longer count."""
        closed = self._closed = Deferred()
        if not self._held:
            closed.callback(None)
        return closed

    def open(self) -> None:
        """Give turns again."""
        self._slots, self._closed = DeferredSemaphore(self._count), None

    def _give_back(self, slots: DeferredSemaphore) -> None:
        self._held -= 1
        slots.release()
        if self._closed is not None and not self._held and not self._closed.called:
            self._closed.callback(None)
