"""Work that is carried to its end before whoever waits for it is cancelled, as in Trio's shielded scopes."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def shielded(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """
    What ``work`` comes to; once cancelled, CancelledError as soon as ``work`` has ended.

    For what must not be left half done: a write in a thread cannot be called back, and the next one of the same file
    must not overtake it; nor can what a CA was asked for. What goes wrong in ``work`` meanwhile is its own to tell.
    """
    waiting: _Shielded[T] = _Shielded()
    Deferred.fromCoroutine(work).addBoth(waiting.end)
    return waiting


class _Shielded(Deferred[T]):
    _is_cancelled = False

    def cancel(self) -> None:
        self._is_cancelled = True

    def end(self, result: T | Failure) -> None:
        self.callback(Failure(CancelledError()) if self._is_cancelled else result)
