"""What is to be done once at the end of a turn of the reactor, however often it was asked for within it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger


class Turn:
    """The turn under way. One timer serves all who ask: ``callLater(0)`` runs after the events of this turn."""

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: list[Callable[[], None]] = []

    def at_end(self, call: Callable[[], None]) -> None:
        """Have ``call`` called."""
        if not self._calls:
            self._clock.callLater(0, self._end)
        self._calls.append(call)

    def _end(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except Exception:
                self.log.failure("A connection could not be served to the end of the turn")
