"""A reactor for one test, turned by hand: tests read top to bottom and nothing runs behind their back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from twisted.internet.epollreactor import EPollReactor

PATIENCE = 10.0
"""Seconds until a condition that does not come is a failure. None of the waits takes long when all is well."""


class Loop:
    """An epoll reactor of its own."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()

    def until(self, condition: Callable[[], Any], what: str = "the condition", patience: float = PATIENCE) -> Any:
        """Turn the reactor until ``condition()`` is true, and return its value; AssertionError if it stays false."""
        deadline = monotonic() + patience
        while not (value := condition()):
            assert monotonic() < deadline, f"{what} did not come about within {patience} s"
            due = self.reactor.timeout()  # iterate() itself would sleep over it
            self.reactor.iterate(0.01 if due is None else min(due, 0.01))
        return value

    def turn(self, times: int = 1) -> None:
        """Turn the reactor without waiting."""
        for _ in range(times):
            self.reactor.iterate(0)

    def close(self) -> None:
        """Close whatever is still open, and the reactor's own descriptors."""
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        for descriptor in self.reactor.removeAll():
            if (connection := getattr(descriptor, "socket", None)) is not None:
                connection.close()
        for internal in list(self.reactor._internalReaders):
            internal.connectionLost(None)
        self.reactor._poller.close()


@contextmanager
def loop() -> Iterator[Loop]:
    """A `Loop` for the length of a with-block."""
    made = Loop()
    try:
        yield made
    finally:
        made.close()
