"""A client's connection after a 101: bytes go both ways, and each way ends by itself (RFC 9110 section 7.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.config import Timeouts
from appliance.http.closing import Closing
from appliance.http.flow import unsent
from appliance.http.handover import hand_over
from appliance.http.message import RequestHead
from appliance.http.serving import Exchange
from appliance.http.websocketframes import GOODBYE_SECONDS, ServerFrames
from appliance.net.deadlines import NEVER, Deadlines


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class ClientTunnel:
    """The client's end of it. Methods below "from the exchange" are of `serving.Tunnel`."""

    __slots__ = (
        "__weakref__",
        "_ahead",
        "_deadlines",
        "_exchange",
        "_frames",
        "_gone",
        "_half_closed",
        "_leaving",
        "_paused",
        "_reading_stopped",
        "_request",
        "_timeouts",
        "_unsent",
        "_write_closed",
        "deadline",
        "transport",
    )

    def __init__(
        self,
        exchange: Exchange,
        deadlines: Deadlines,
        timeouts: Timeouts,
        request: RequestHead | None,
        websocket: bool,
        ahead: bytes,
        half_closed: bool,
        gone: Callable[[Failure], None],
    ) -> None:
        """``request`` is where to note what goes through, if anybody wants to know.

        ``ahead`` is what the client sent already, ``half_closed`` whether that is all; ``gone`` is told the end.
        """
        self._exchange: Exchange | None = exchange
        self._deadlines = deadlines
        self._timeouts = timeouts
        self._request = request
        self._frames = ServerFrames() if websocket else None
        self._ahead = ahead
        self._half_closed = half_closed
        self._gone = gone
        self._leaving = False
        self._paused = False
        self._reading_stopped = False
        self._unsent = 0
        self._write_closed = False
        self.deadline = NEVER
        self.transport: Any = None

    # --- from Twisted ---

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self._deadlines.add(self)
        self._renew_deadline()
        transport.registerProducer(self, True)

    def connectionMade(self) -> None:
        """See IProtocol."""

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        exchange = self._exchange
        if exchange is None:
            return
        if self._request is not None:
            self._request.bytes_in += len(data)
        if self._timeouts.websocket_idle is not None:
            self._renew_deadline()
        exchange.body_received(data)

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        self._half_closed = True
        exchange = self._exchange
        if self._write_closed:  # what the client said last still reaches the upstream
            self._close()
        if exchange is not None:
            exchange.body_ended()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol."""
        self.deadline = NEVER
        self._deadlines.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_lost()
        self._gone(reason)

    def pauseProducing(self) -> None:
        """See IPushProducer: the socket is full."""
        if self._paused:
            return
        self._paused = True
        self._unsent = unsent(self.transport)
        self.deadline = self._deadlines.seconds() + self._timeouts.body
        if self._exchange is not None:
            self._exchange.pause()

    def resumeProducing(self) -> None:
        """See IPushProducer: the socket has taken all."""
        self._paused = False
        self._renew_deadline()
        if self._write_closed:  # a FileDescriptor forgets it over resuming its producer
            self.transport.loseWriteConnection()
        if self._exchange is not None:
            self._exchange.resume()

    def stopProducing(self) -> None:
        """See IPushProducer: the connection is going; connectionLost tells the exchange."""

    def expire(self, now: float) -> None:
        """The deadline has passed; see Deadlines."""
        if self._paused:
            left = unsent(self.transport)
            if left != self._unsent:  # slow, but moving
                self._unsent = left
                self.deadline = now + self._timeouts.body
                return
        self._abort()

    def _renew_deadline(self) -> None:
        """Allow both ends their silence. While the socket is full, time runs on."""
        if not self._paused:
            idle = self._timeouts.websocket_idle
            self.deadline = NEVER if idle is None else self._deadlines.seconds() + idle

    # --- from the exchange ---

    def tunnel_opened(self) -> None:
        """The exchange is ready for what the client sent ahead."""
        ahead, self._ahead = self._ahead, b""
        if ahead and self._exchange is not None:
            self._exchange.body_received(ahead)
        if self._half_closed and self._exchange is not None:
            self._exchange.body_ended()

    def pause_request(self) -> None:
        """Take no more from the client for now."""
        if not self._reading_stopped and self._exchange is not None:
            self._reading_stopped = True
            self.transport.pauseProducing()
            self._renew_deadline()

    def resume_request(self) -> None:
        """Go on taking."""
        if self._reading_stopped and self._exchange is not None:
            self._reading_stopped = False
            self.transport.resumeProducing()
            self._renew_deadline()

    def tunnel_data(self, data: bytes) -> None:
        """Bytes from the other end."""
        if self._frames is not None:
            data = self._frames.feed(data)
            if not data:
                return
        if self._request is not None:
            self._request.bytes_out += len(data)
        if self._leaving:
            self._expect_goodbye()
        elif self._timeouts.websocket_idle is not None:
            self._renew_deadline()
        self.transport.write(data)

    def tunnel_ended(self) -> None:
        """The other end will send no more."""
        if self._half_closed:
            self.tunnel_lost()
        else:
            self._write_closed = True
            self.transport.loseWriteConnection()

    def tunnel_lost(self) -> None:
        """The other end is gone."""
        if self._exchange is not None:
            self._close()

    def fail(self, status: int, reset: int | None = None) -> None:
        """The exchange came to nothing, for which a tunnel has no words."""
        self._exchange = None
        self._abort()

    # --- endings ---

    def leave(self) -> None:
        """Tell the client of a WebSocket, at the end of the frame under way; end any other tunnel."""
        self._leaving = True
        frames, exchange = self._frames, self._exchange
        if exchange is None:
            return
        if frames is None:
            self._close()
            exchange.client_lost()
            return
        goodbye = frames.leave()
        if goodbye and not self._write_closed:
            self.transport.write(goodbye)
        self._expect_goodbye()

    def _expect_goodbye(self) -> None:
        """A client that was told has so long to answer, and its application to close."""
        if self._frames is not None and self._frames.over:
            self.deadline = self._deadlines.seconds() + GOODBYE_SECONDS

    def _close(self) -> None:
        """Close after all was sent."""
        self._exchange = None
        self.deadline = NEVER
        self._deadlines.discard(self)
        closing = Closing(self._deadlines, self._timeouts.body, self._gone)
        hand_over(self.transport, closing)
        closing.close()

    def _abort(self) -> None:
        """Close at once; whatever was not sent is lost."""
        self.deadline = NEVER
        self.transport.abortConnection()
