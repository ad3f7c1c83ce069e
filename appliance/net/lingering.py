"""Closing without losing what was sent.

A TCP socket that is closed while the client still sends answers with a reset, which can destroy the response on its
way. So the sending half closes first, and what still comes is read and dropped.
"""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is extended here)

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.internet.tcp import Connection as _Connection
else:
    _Connection = object

LINGER = 5.0
"""Seconds that a client gets to close its half after we closed ours."""

_PIECE = 64 * 1024
_PIECES_AT_ONCE = 16


class LingeringClose(_Connection):
    """Put before a ``tcp.Connection`` class: a close waits for the client's, for at most `LINGER` seconds.

    ``connectionLost`` comes when both halves are closed, so an owner that counts connections counts these too.
    ``abortConnection`` ends the wait. No data is delivered during it.
    """

    _linger_timer: IDelayedCall | None = None

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
        if self._discard() is not None:
            return CONNECTION_DONE
        self._linger()
        return None

    def _linger(self) -> None:
        self._writeDisconnected = True
        self._shouldShutdown = False  # once more, before the descriptor is closed
        self.doRead = self._discard  # type: ignore[method-assign]
        self.doWrite = self.stopWriting  # type: ignore[method-assign]
        self._linger_timer = self.reactor.callLater(LINGER, self._linger_over)  # type: ignore[attr-defined]
        self.startReading()

    def _discard(self) -> ConnectionDone | None:
        """``doRead`` while lingering: drop what comes, a bounded amount at a time, until the client closes."""
        try:
            for _ in range(_PIECES_AT_ONCE):
                if not self.socket.recv(_PIECE):
                    return CONNECTION_DONE
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_DONE
        return None

    def _linger_over(self) -> None:
        self._linger_timer = None
        self.connectionLost(Failure(CONNECTION_DONE))

    def readConnectionLost(self, reason: Failure) -> None:
        """The client closed its half: while lingering, that is the end, whatever the protocol knows of half-close."""
        if self._linger_timer is None:
            super().readConnectionLost(reason)
        else:
            self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Both halves are closed."""
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        super().connectionLost(reason)
        # Bound methods on the instance itself would keep it alive until the garbage collector finds them.
        self.__dict__.pop("doRead", None)
        self.__dict__.pop("doWrite", None)
