"""Another program's run, from start to end, bounded in time and in what is kept of its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

TAIL = 600
"""Bytes kept of what a program printed last."""
SHORTEST_SECRET = 4
"""Characters: anything shorter is not taken for a secret, or words would be full of holes."""

_TO_GO = 5.0
"""Seconds between the request to end and the end."""
_TO_CLOSE = 1.0
"""Seconds that a program's children may keep its output open after it has ended."""


@frozen
class Ended:
    """How it went."""

    problem: str
    """``status 1``, ``signal 9``, ``no end within 60 s``; empty for success."""
    tail: str
    """What it printed last, on one line."""

    def words(self, secrets: Iterable[str] = ()) -> str:
        """Problem and tail, with ``secrets`` blotted out."""
        tail = self.tail
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                tail = tail.replace(secret, "***")
        return f"{self.problem}: {tail}" if tail else self.problem


def run(
    reactor: Any, arguments: Sequence[str], environment: Mapping[str, str], timeout: float, stdin: bytes = b""
) -> Deferred[Ended]:
    """Fires when the program has ended, however. Cancelled, or after ``timeout`` seconds, it is made to.

    Raises OSError if it cannot be started.
    """
    running = _Running(reactor, stdin)
    reactor.spawnProcess(running, arguments[0], list(arguments), dict(environment), childFDs={0: "w", 1: "r", 2: "r"})
    running.limit(timeout)
    return running.ended


class _Running(ProcessProtocol):
    def __init__(self, clock: IReactorTime, stdin: bytes) -> None:
        self._clock = clock
        self._stdin = stdin
        self._tail = b""
        self._problem = ""
        self._calls: list[Any] = []
        self._exited = False
        self.ended: Deferred[Ended] = Deferred(lambda _: self._end("was given up"))

    def limit(self, seconds: float) -> None:
        self._later(seconds, self._end, f"no end within {seconds:g} s")

    def connectionMade(self) -> None:
        self.transport.write(self._stdin)  # type: ignore[union-attr]
        self.transport.closeStdin()  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-TAIL:]

    errReceived = outReceived

    def processExited(self, reason: Failure) -> None:
        self._exited = True
        self._cancel_calls()
        self._later(_TO_CLOSE, self.transport.loseConnection)  # type: ignore[union-attr]

    def processEnded(self, reason: Failure) -> None:
        self._cancel_calls()
        if not self.ended.called:
            self.ended.callback(Ended(self._problem or _problem(reason), _line(self._tail)))

    def _end(self, problem: str) -> None:
        """Ask it to end, and end it if it does not; say so when it is gone, not before, unless nobody listens."""
        if self._exited:
            return
        self._problem = self._problem or problem
        self._signal("TERM")
        self._later(_TO_GO, self._signal, "KILL")

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)  # type: ignore[union-attr]

    def _later(self, seconds: float, call: Any, *arguments: Any) -> None:
        self._calls.append(self._clock.callLater(seconds, call, *arguments))

    def _cancel_calls(self) -> None:
        for call in self._calls:
            if call.active():
                call.cancel()
        self._calls.clear()


def _problem(reason: Failure) -> str:
    if reason.check(ProcessDone):
        return ""
    value: Any = reason.value
    return f"signal {value.signal}" if value.signal is not None else f"status {value.exitCode}"


def _line(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
