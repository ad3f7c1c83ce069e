"""A disk that is as slow as a test wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred


@define
class SlowDisk:
    """A thread that works when it is told to; that nobody waits any more does not take its work back."""

    waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = field(factory=list)
    most: int = 0
    """How many pieces of work waited at once."""

    def __call__(self, function: Callable[[], Any], /) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((function, done))
        self.most = max(self.most, len(self.waiting))
        return done

    def work(self, pieces: int = 100) -> None:
        """Do as much, if there is as much."""
        while self.waiting and pieces:
            function, done = self.waiting.pop(0)
            maybeDeferred(function).chainDeferred(done)
            pieces -= 1
