"""Closing without losing what was sent.

A TCP socket that is closed while the client still sends answers with a reset, which can destroy the response on its
way. So the sending half closes first, and what still comes is read and dropped.
"""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is extended here)

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.internet.tcp import Connection as _Connection
else:
    _Connection = object

_log = Logger()

LINGER = 5.0
"""Seconds that a client gets to close its half after we closed ours."""

_ENDED = Failure(CONNECTION_DONE)

_PIECE = 64 * 1024
_PIECES_AT_ONCE = 16


class Lingering:
    """The connections of one reactor that wait for their clients, in the order of their ends: one timer for all."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._ends: OrderedDict[LingeringClose, float] = OrderedDict()
        self._timer: IDelayedCall | None = None
        self.discard: Callable[[LingeringClose, None], object] = self._ends.pop
        """``discard(connection, None)``: it waits no longer. The timer stays for the next one."""

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, connection: LingeringClose) -> None:
        """One that begins to wait."""
        self._ends[connection] = self._clock.seconds() + LINGER
        if self._timer is None:
            self._timer = self._clock.callLater(LINGER, self._expire)

    def stop(self) -> None:
        """No more are accepted: the timer ends with the last of those that are there."""
        self.discard = self._discard_last
        self._cancel_if_empty()

    def _discard_last(self, connection: LingeringClose, default: None) -> None:
        self._ends.pop(connection, default)
        self._cancel_if_empty()

    def _cancel_if_empty(self) -> None:
        if self._timer is not None and not self._ends:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._ends:
            connection, end = next(iter(self._ends.items()))
            if end > now:
                self._timer = self._clock.callLater(end - now, self._expire)
                return
            del self._ends[connection]
            try:
                connection.connectionLost(_ENDED)
            except Exception:
                _log.failure("A connection could not be closed")


class LingeringClose(_Connection):
    """Put before a ``tcp.Connection`` class: a close waits for the client's, for at most `LINGER` seconds.

    ``connectionLost`` comes when both halves are closed, so an owner that counts connections counts these too.
    ``abortConnection`` ends the wait. No data is delivered during it.
    """

    server: Any
    """The port; see `Lingering` for its ``lingering``."""
    _lingers = False

    def loseConnection(self) -> None:
        """Close after all was sent. Where it has been, begin at once, with nothing to watch for anew in the reactor."""
        if (
            not self.connected
            or self.disconnecting
            or self.dataBuffer
            or self._tempDataBuffer
            or self.producer is not None
            or self._writeDisconnecting
            or self._writeDisconnected
            or self._aborting
            or self.TLS
        ):
            super().loseConnection()
            return
        self.disconnecting = True
        if not self._end_writing():
            self.stopReading()
            self.startWriting()

    def _end_writing(self) -> bool:
        """Begin to linger, if that can be done on the spot: else `_postLoseConnection` has its turn."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        self._linger()
        return True

    def _postLoseConnection(self) -> ConnectionDone | None:
        """``FileDescriptor`` calls this when a close was asked for and all data are with the kernel."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return CONNECTION_DONE  # the client is gone already
        if self._drained():
            return CONNECTION_DONE
        self._linger()
        return None

    def _linger(self) -> None:
        self._writeDisconnected = True
        self._shouldShutdown = False  # once more, before the descriptor is closed
        self.doRead = self._discard  # type: ignore[method-assign]
        self.doWrite = self.stopWriting  # type: ignore[method-assign]
        self._lingers = True
        self.server.lingering.add(self)
        self.startReading()

    def _discard(self) -> None:
        """``doRead`` while lingering: the end comes without the reactor's ways to tell of it."""
        if self._drained():
            self.connectionLost(_ENDED)

    def _drained(self) -> bool:
        """Drop what came, a bounded amount at a time: whether the client has closed."""
        try:
            for _ in range(_PIECES_AT_ONCE):
                if not self.socket.recv(_PIECE):
                    return True
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    def readConnectionLost(self, reason: Failure) -> None:
        """The client closed its half: while lingering, that is the end, whatever the protocol knows of half-close."""
        if self._lingers:
            self.connectionLost(reason)
        else:
            super().readConnectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Both halves are closed."""
        if self._lingers:
            self._lingers = False
            self.server.lingering.discard(self, None)
        super().connectionLost(reason)
        # Bound methods on the instance itself would keep it alive until the garbage collector finds them.
        self.__dict__.pop("doRead", None)
        self.__dict__.pop("doWrite", None)
