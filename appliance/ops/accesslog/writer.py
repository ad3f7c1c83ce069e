"""Lines of the access log, gathered for a moment and written by a thread.

A thread that comes to life takes the interpreter from the reactor, a little each time: so it does not come often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from appliance.store import Defer

MOST_PENDING = 8 * 1024 * 1024
"""Bytes of lines that wait for a slow disk; more are dropped."""
GATHER_SECONDS = 0.1
ENOUGH = 1024 * 1024
"""Bytes of lines that are not kept waiting for more."""
_COMPLAIN_SECONDS = 60.0


class Target(Protocol):
    """Where lines go: `logfile.LogFile`."""

    def write(self, lines: bytes) -> None:
        """Write them all, or raise OSError; in a thread."""

    def reopen(self) -> None:
        """The file may have been moved."""

    def close(self) -> None:
        """Nothing more for now."""


class AccessLog(Service):
    """Whatever happens to the disk, requests go on: lines that cannot be written are dropped, counted and spoken of."""

    log = Logger()

    def __init__(self, clock: IReactorTime, target: Target, defer: Defer) -> None:
        """``clock`` is monotonic."""
        self._clock = clock
        self._target = target
        self._defer = defer
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._writing = False
        self._gathering: IDelayedCall | None = None
        self._written: Deferred[None] | None = None
        """Fires, once the service has stopped, when nothing is left to write."""
        self.lost = 0
        """How many lines were dropped so far."""
        self._losing = False
        self._told_at = float("-inf")

    def write(self, lines: Sequence[str]) -> None:
        """Have these lines written, which have no ends; there is at least one."""
        batch = ("\n".join(lines) + "\n").encode("ascii", "backslashreplace")
        if self._pending_bytes + len(batch) > MOST_PENDING:
            self._lose(len(lines), "the disk is too slow")
        elif self._written is not None:
            self._write_now(batch)
        else:
            self._pending.append(batch)
            self._pending_bytes += len(batch)
            if not self._writing:
                self._gather()

    def stopService(self) -> Deferred[None]:
        """Write what there is; what comes after this is written on the spot."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._written = Deferred()
        if self._pending and not self._writing:
            self._write()
        elif not self._writing:
            self._written.callback(None)
        return self._written

    def reopen(self) -> None:
        """The file was moved away: go on in a new one."""
        self._target.reopen()

    def _gather(self) -> None:
        """Write now if there is enough, else soon."""
        if self._pending_bytes >= ENOUGH:
            self._write()
        elif self._gathering is None:
            self._gathering = self._clock.callLater(GATHER_SECONDS, self._write)

    def _write(self) -> None:
        gathering, self._gathering = self._gathering, None
        if gathering is not None and gathering.active():
            gathering.cancel()
        batch = b"".join(self._pending)
        self._pending.clear()
        self._writing = True
        writing = self._defer(lambda: self._target.write(batch))
        writing.addCallbacks(lambda _: self._succeeded(), lambda failure: self._failed(failure, batch))
        writing.addCallback(lambda _: self._ended(len(batch)))

    def _ended(self, size: int) -> None:
        self._writing = False
        self._pending_bytes -= size
        if self._written is None:
            if self._pending:
                self._gather()
        elif self._pending:
            self._write()
        else:
            self._written.callback(None)

    def _write_now(self, batch: bytes) -> None:
        """After the service has stopped: the last requests, and soon no thread to wait for."""
        try:
            self._target.write(batch)
        except OSError as error:
            self._lose(batch.count(b"\n"), str(error))

    # --- what is lost ---

    def _succeeded(self) -> None:
        if self._losing:
            self._losing = False
            self.log.info("access log, {target}: is written again", target=str(self._target))

    def _failed(self, failure: Failure, batch: bytes) -> None:
        self._lose(batch.count(b"\n"), failure.getErrorMessage())

    def _lose(self, lines: int, why: str) -> None:
        self.lost += lines
        now = self._clock.seconds()
        if self._losing and now - self._told_at < _COMPLAIN_SECONDS:
            return
        self._losing = True
        self._told_at = now
        self.log.error(
            "access log, {target}: {why}; {lost} lines were dropped so far. Requests are served as ever",
            target=str(self._target),
            why=why,
            lost=self.lost,
        )
