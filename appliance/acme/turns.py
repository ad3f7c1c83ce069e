"""How many orders there may be at once, without letting those that hang keep the others waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

PATIENCE = 45.0
"""Seconds after which an order that is still under way no longer counts. Ordinary ones take a few."""


class Turns:
    """At most ``count`` orders that are younger than ``PATIENCE``."""

    def __init__(self, clock: IReactorTime, count: int) -> None:
        self._clock = clock
        self._slots = DeferredSemaphore(count)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for as long as the block takes, or ``PATIENCE``."""
        await self._slots.acquire()
        patience = self._clock.callLater(PATIENCE, self._slots.release)
        try:
            yield
        finally:
            if patience.active():
                patience.cancel()
                self._slots.release()
