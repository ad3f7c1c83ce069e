"""The client-facing HTTP/2 connection: frames from and to the socket, streams, time, and a way to end (RFC 9113).

A connection is used until it has been idle for long, has served its number of requests, is drained, or breaks a rule.
It ends by GOAWAY: streams that the client was promised are finished first, unless it was the client's own fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.config import Limits, Timeouts
from appliance.errors import RequestError
from appliance.http.flow import unsent
from appliance.http.http2bounds import Patience
from appliance.http.http2frames import NO_ERROR, PREFACE, PROTOCOL_ERROR, Http2ConnectionError, ping
from appliance.http.http2headers import copy_of
from appliance.http.http2server import ServerEngine
from appliance.http.http2stream import Stream
from appliance.http.http2tunnel import TunnelStream
from appliance.http.message import RequestHead
from appliance.http.observing import Observer
from appliance.http.serving import Handler
from appliance.net.deadlines import NEVER, Deadlines
from appliance.net.proxyprotocol import Connection
from appliance.net.turn import Turn

_LINGER_SECONDS: Final = 6.0  # more than the transport's own, which ends without a reset
_PING_SECONDS: Final = 10.0
_UNREAD_BYTES: Final = 256 * 1024
_BACKLOG: Final = 1
_UNREAD: Final = 2
_ALIVE: Final = b"alive?\0\0"
_DRAINING: Final = b"drained\0"


@implementer(IProtocol, IPushProducer)
class Http2Connection:
    """One client's connection over a transport whose ALPN chose ``h2``."""

    protocol = "HTTP/2.0"
    """See http.observing.Client."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_closing",
        "_draining",
        "_last_stream",
        "_preface",
        "_quiet",
        "_reading_held",
        "_refusing",
        "_tell_gone",
        "_turn",
        "_unsent",
        "_waking",
        "_written_unread",
        "client",
        "deadline",
        "deadlines",
        "engine",
        "handler",
        "limits",
        "logged",
        "memo",
        "observer",
        "paused",
        "port",
        "scheme",
        "timeouts",
        "tls",
        "transport",
    )

    def __init__(
        self,
        handler: Handler,
        deadlines: Deadlines,
        turn: Turn,
        limits: Limits,
        timeouts: Timeouts,
        gone: Callable[[Http2Connection], None] | None = None,
        observer: Observer | None = None,
        tls: str = "",
    ) -> None:
        self.handler = handler
        self.deadlines = deadlines
        self._turn = turn
        self.limits = limits
        self.timeouts = timeouts
        self._tell_gone = gone
        self.observer = observer
        self.logged: Any = None
        """See http.observing.Client."""
        self.tls = tls
        """The version of TLS; only known while there is an observer."""
        self.scheme = b"https"
        self.transport: Any = None
        self.client = ""
        self.port = 0
        self.memo: Any = None
        self.deadline = NEVER
        self.paused = False
        """Whether the socket is full."""
        self._preface = PREFACE
        """What of the client's preface is still to come."""
        self._waking = False
        self._closing = False
        self._draining = False
        self._refusing = False
        self._quiet = False
        """Whether nothing was heard of the client since the deadline was set."""
        self._asked = False
        """Whether the client was sent a PING to see if it lives."""
        self._last_stream = limits.requests_per_connection * 2 - 1
        """When this one has been opened, it is enough."""
        self._unsent = 0
        self._written_unread = 0
        self._reading_held = 0
        """Why nothing is read from the socket: `_BACKLOG`, `_UNREAD`, both, or neither."""
        self.engine = ServerEngine(
            Patience(deadlines.seconds), self._wake, self._flush, limits, self._open, self._closed, self._more
        )
        self.engine.ping_acknowledged = self._ping_acknowledged

    @property
    def ends(self) -> Connection | None:
        """Both ends of the connection, as the PROXY protocol tells them; None on a UNIX socket."""
        peer, host = self.transport.getPeer(), self.transport.getHost()
        if not isinstance(peer, IPv4Address | IPv6Address) or not self.client:
            return None
        return Connection(self.client, peer.port, _plain(host.host), host.port)

    @property
    def resting(self) -> bool:
        """Whether it only waits for a next request, having answered others."""
        return not self._closing and not self.engine.streams and self.engine.last_stream > 0

    # --- from Twisted ---

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol; the handshake is over."""
        self.transport = transport
        peer, host = transport.getPeer(), transport.getHost()
        if isinstance(peer, IPv4Address | IPv6Address):
            self.client = _plain(peer.host)
        if isinstance(host, IPv4Address | IPv6Address):
            self.port = host.port
        self.deadline = self.deadlines.seconds() + self.timeouts.header
        self.deadlines.add(self)
        transport.registerProducer(self, True)
        self._flush()

    def connectionMade(self) -> None:
        """See IProtocol."""

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        if self._closing:
            return
        self._quiet = False
        try:
            if self._preface:
                data = self._take_preface(data)
            more = self.engine.receive(data)
        except Http2ConnectionError as fault:
            self.fault(fault)
            return
        if more:
            self._hold_reading(_BACKLOG)
            self._turn.at_end(self._go_on)
        enough = self.engine.last_stream >= self._last_stream
        if not self.engine.streams and (enough or self.engine.peer_left or self._refusing):
            self._close()
        elif enough:
            self.retire()

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol."""
        self._closing = True
        self.deadline = NEVER
        self.deadlines.discard(self)
        self._abandon()
        if self._tell_gone is not None:
            self._tell_gone(self)

    def pauseProducing(self) -> None:
        """See IPushProducer: the socket is full."""
        if not self.paused:
            self.paused = True
            self.engine.sender.hold()
            self._unsent = unsent(self.transport)
            self.deadline = self.deadlines.seconds() + self.timeouts.body

    def resumeProducing(self) -> None:
        """See IPushProducer: the socket has taken all."""
        self.paused = False
        self._written_unread = 0
        self._renew_deadline()
        self._release_reading(_UNREAD)
        self.engine.sender.release()

    def stopProducing(self) -> None:
        """See IPushProducer: the connection is going; connectionLost tells the streams."""

    # --- input ---

    def _go_on(self) -> None:
        """Take the frames that the last turn left."""
        if not self._closing:
            self._release_reading(_BACKLOG)
            self.dataReceived(b"")

    def _hold_reading(self, reason: int) -> None:
        if not self._reading_held:
            self.transport.pauseProducing()
        self._reading_held |= reason

    def _release_reading(self, reason: int) -> None:
        if self._reading_held:
            self._reading_held &= ~reason
            if not self._reading_held:
                self.transport.resumeProducing()

    def _take_preface(self, data: bytes) -> bytes:
        """Check the bytes that every client begins with (section 3.4); what follows them."""
        expected = self._preface
        if not data.startswith(expected[: len(data)]):
            raise Http2ConnectionError(PROTOCOL_ERROR, "this is not HTTP/2")
        self._preface = expected[len(data) :]
        return data[len(expected) :]

    def _open(self, stream_id: int, request: RequestHead | RequestError) -> Stream:
        if not self.engine.streams:
            self._renew_deadline()
        if isinstance(request, RequestHead):
            request = copy_of(request)  # the engine may hand out the same one again
            if request.upgrade:
                return TunnelStream(self, stream_id, request)
        return Stream(self, stream_id, request)

    def _more(self) -> None:
        self._turn.at_end(self._begin_some)

    def _begin_some(self) -> None:
        if not self._closing:
            try:
                self.engine.begin_some()
            except Http2ConnectionError as fault:
                self.fault(fault)

    def _closed(self) -> None:
        """A stream has ended."""
        if not self.engine.streams and not self._closing:
            self._renew_deadline()
            if self._draining or self.engine.peer_left:
                self._turn.at_end(self._close_if_done)

    def _close_if_done(self) -> None:
        if not self.engine.streams and not self._closing:
            self._close()

    # --- output ---

    def _wake(self) -> None:
        if not self._waking and self.transport is not None:
            self._waking = True
            self._turn.at_end(self._flush_at_end)

    def _flush_at_end(self) -> None:
        self._waking = False
        self._flush()

    def _flush(self) -> None:
        """Write what there is: at the end of a turn, so that its answers share records and system calls."""
        if self.transport is None:
            return
        output = self.engine.take_output()
        if output:
            self.transport.write(output)
            if self.paused:
                self._written_unread += len(output)
                if self._written_unread > _UNREAD_BYTES:
                    self._hold_reading(_UNREAD)  # answers are not read, so no more of them are made

    # --- time ---

    def _renew_deadline(self) -> None:
        """Count anew how long the client may be silent: with a request under way before it is asked, else for good."""
        if not self._closing and not self.paused:
            self._quiet = True
            self._asked = False
            self.deadline = self.deadlines.seconds() + self.timeouts.idle

    def expire(self, now: float) -> None:
        """The deadline has passed; see Deadlines."""
        if self._closing or self.paused:
            left = unsent(self.transport)
            if left == self._unsent:
                self.transport.abortConnection()
                return
            self._unsent = left  # slow, but moving
            self.deadline = now + (self.timeouts.body if left else _LINGER_SECONDS)
        elif not self.engine.streams:
            self._close()
        elif self._quiet and self._asked:
            self.transport.abortConnection()
        elif self._quiet:
            self._asked = True
            self.engine.emit(ping(_ALIVE))
            self.deadline = now + _PING_SECONDS
        else:
            self._renew_deadline()

    def _ping_acknowledged(self, payload: bytes) -> None:
        if payload == _DRAINING and self._draining:
            self._refuse()

    # --- endings ---

    def drain(self) -> None:
        """Let the streams under way come to their end and take no others (RFC 9113 section 6.8).

        First the client is told, then, a round trip later, what it sent before it knew is served too.
        """
        if self._closing:
            return
        if self.engine.streams or self._preface:
            self.retire()
            for stream in list(self.engine.streams.values()):
                stream.leave()
        else:
            self._close()

    def retire(self) -> None:
        """The same, but tunnels live on, and an idle connection ends by the client's word: what it sends is served."""
        if not self._closing and not self._draining:
            self._draining = True
            self.engine.announce_end()
            self.engine.emit(ping(_DRAINING))

    def abort(self) -> None:
        """End it at once."""
        self._closing = True
        self.transport.abortConnection()

    def _refuse(self) -> None:
        if not self._refusing:
            self._refusing = True
            self.engine.refuse()

    def fault(self, fault: Http2ConnectionError) -> None:
        """End the connection for what the client did."""
        self._abandon()
        self.engine.refuse(fault.code, str(fault))
        self._end()

    def _close(self) -> None:
        """End it with nothing under way."""
        if not self._refusing:
            self.engine.refuse(NO_ERROR)
        self._end()

    def _end(self) -> None:
        """Close after all was sent."""
        if not self._closing:
            self._closing = True
            self._flush()
            self._unsent = 0
            self.deadline = self.deadlines.seconds() + _LINGER_SECONDS
            self._release_reading(_BACKLOG | _UNREAD)
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _abandon(self) -> None:
        for stream in reversed(list(self.engine.streams.values())):  # those that wait go before what they wait for
            if stream.id in self.engine.streams:
                self.engine.forget(stream)
                stream.was_reset(NO_ERROR)

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "h2"


def _plain(address: str) -> str:
    """An IP address without its zone, and IPv4 as itself."""
    return address.partition("%")[0].removeprefix("::ffff:")
