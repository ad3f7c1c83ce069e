"""The last protocol of a client's connection: what was sent goes out, what still comes is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.http.flow import unsent
from appliance.net.deadlines import NEVER, Deadlines

_LINGER_SECONDS = 6.0  # more than the transport's own, which ends without a reset


@implementer(IProtocol, IHalfCloseableProtocol)
class Closing:
    """Waits for a client to take what was sent for as long as it takes some, and for its end a little longer."""

    __slots__ = ("__weakref__", "_allowed", "_deadlines", "_gone", "_unsent", "deadline", "transport")

    def __init__(self, deadlines: Deadlines, allowed: float, gone: Callable[[Failure], None]) -> None:
        """``allowed``: seconds within which some must be taken; ``gone`` is told of the end."""
        self._deadlines = deadlines
        self._allowed = allowed
        self._gone = gone
        self._unsent = 0
        self.deadline = NEVER
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self._deadlines.add(self)
        self._wait()

    def connectionMade(self) -> None:
        """See IProtocol."""

    def close(self) -> None:
        """Close after all was sent."""
        self._wait()
        self.transport.loseConnection()

    def close_half(self) -> None:
        """Close after all was sent, reading on a little: a reset could overtake it (RFC 9112 section 9.6)."""
        self._wait()
        self.transport.loseWriteConnection()

    def _wait(self) -> None:
        self._unsent = 0
        self.deadline = self._deadlines.seconds() + _LINGER_SECONDS

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        self.close()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol."""
        self._deadlines.discard(self)
        self._gone(reason)

    def expire(self, now: float) -> None:
        """The deadline has passed; see Deadlines."""
        left = unsent(self.transport)
        if left != self._unsent:  # slow, but moving
            self._unsent = left
            self.deadline = now + (self._allowed if left else _LINGER_SECONDS)
        else:
            self.deadline = NEVER
            self.transport.abortConnection()
