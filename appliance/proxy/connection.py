"""One connection to an upstream: a request out, a response in, strictly in turn, then idle in its pool.

IDLE ──send──▶ AWAITING ──head──▶ BODY ──complete──▶ IDLE (or closed)
                  └──101──▶ TUNNEL
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.config import Timeouts
from appliance.errors import UpstreamError
from appliance.http.body import LAST_CHUNK, BodyError, BodyReader, chunk, reader_for
from appliance.http.flow import unsent
from appliance.http.http1 import HEAD_END, read_response, write_request
from appliance.http.message import CHUNKED, UNTIL_CLOSE, Fields, RequestHead, ResponseHead
from appliance.net.deadlines import NEVER, Deadlines

if TYPE_CHECKING:
    from appliance.proxy.exchange import Exchange

_IDLE: Final = 0
_AWAITING: Final = 1
_BODY: Final = 2
_TUNNEL: Final = 3
_CLOSED: Final = 4

_HEAD_BYTES = 64 * 1024
_INFORMATIONAL_RESPONSES = 16


class Owner(Protocol):
    """The pool a connection goes back to."""

    name: str
    """The address, for logs and metrics."""

    def released(self, connection: UpstreamConnection) -> None:
        """The connection is idle and good for another request."""

    def closed(self, connection: UpstreamConnection) -> None:
        """The connection is gone."""

    def failed(self, error: UpstreamError) -> None:
        """The upstream is to blame for a request that was not answered."""


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class UpstreamConnection:
    """Speaks HTTP/1.1 to one upstream, for one exchange at a time."""

    __slots__ = (
        "__weakref__",
        "_address",
        "_body",
        "_buffer",
        "_chunked",
        "_deadlines",
        "_exchange",
        "_informational",
        "_method",
        "_owner",
        "_paused",
        "_read_closed",
        "_request_ended",
        "_response_paused",
        "_reusable",
        "_state",
        "_timeouts",
        "_unsent",
        "_write_closed",
        "answers",
        "deadline",
        "exchanges",
        "transport",
    )

    def __init__(self, owner: Owner, deadlines: Deadlines, timeouts: Timeouts) -> None:
        self._owner = owner
        self._address = owner.name
        self._deadlines = deadlines
        self._timeouts = timeouts
        self.transport: Any = None
        self.deadline = NEVER
        self.exchanges = 0
        """How many requests were sent over it."""
        self.answers = 0
        """To how many of them a response began."""
        """When the last one was."""
        self._state = _IDLE
        self._exchange: Exchange | None = None
        self._buffer = b""
        self._body: BodyReader | None = None
        self._method = b""
        self._chunked = False
        self._request_ended = True
        self._reusable = True
        self._informational = 0
        self._paused = False
        self._response_paused = False
        self._read_closed = False
        self._write_closed = False
        self._unsent = 0

    # --- from the exchange ---

    def send(
        self, exchange: Exchange, request: RequestHead, target: bytes, own_fields: bytes, body: bytes, ended: bool
    ) -> None:
        """Begin a request: its head (see `http1.write_request`), and what there is of its body.

        ``ended`` if that is all of it.
        """
        self._exchange = exchange
        self._state = _AWAITING
        self._method = request.method
        self._reusable = True
        self._informational = 0
        self.exchanges += 1
        self._chunked = request.framing == CHUNKED and not ended
        self._request_ended = ended
        request.sent = self._deadlines.seconds()
        request.upstream = self._address
        self.deadline = request.sent + self._timeouts.first_byte if ended else NEVER
        if request.framing == CHUNKED:
            if body:
                body = chunk(body)
            if ended:
                body += LAST_CHUNK
        head = write_request(request, target, own_fields)
        self.transport.write(head + body if body else head)

    def send_body(self, data: bytes) -> None:
        """Send a piece of the request's body, not empty; or bytes of a tunnel."""
        if self._request_ended and self._state != _TUNNEL:
            raise AssertionError("content after the request's end: the application would take it for a request")
        self.transport.write(chunk(data) if self._chunked else data)

    def end_request(self, trailers: Fields | None = None) -> None:
        """The request is complete; in a tunnel: the client will send no more.

        Trailers are not for applications that speak HTTP/1.1: some take them for fields of the head.
        """
        if self._state == _TUNNEL:
            self._write_closed = True
            if self._read_closed:
                self._drop_tunnel()
            else:
                self.transport.loseWriteConnection()
            return
        self._request_ended = True
        if self._chunked:
            self._chunked = False
            self.transport.write(LAST_CHUNK)
        self._renew_deadline()

    def pause(self) -> None:
        """Take no more of the response for now."""
        if not self._response_paused:
            self._response_paused = True
            self._renew_deadline()
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Go on taking the response."""
        if self._response_paused:
            self._response_paused = False
            self._renew_deadline()
            self.transport.resumeProducing()

    def abandon(self) -> None:
        """The exchange is over before its end: nothing on this connection has a meaning any more."""
        self._exchange = None
        self.close()

    def close(self) -> None:
        """Close at once, without a word to an exchange."""
        self._leave()
        self.transport.abortConnection()

    def _drop_tunnel(self) -> None:
        """Both halves are done: close after all was sent, for as long as it moves."""
        self._exchange = None
        self._paused = True
        self._unsent = unsent(self.transport)
        self._renew_deadline()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _leave(self) -> None:
        """Be gone as far as everyone else is concerned; what the socket still does has no meaning."""
        if self._state != _CLOSED:
            self._state = _CLOSED
            self.deadline = NEVER
            self._deadlines.discard(self)
            self._owner.closed(self)

    # --- from Twisted ---

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        transport.registerProducer(self, True)
        self._deadlines.add(self)

    def connectionMade(self) -> None:
        """See IProtocol."""

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        state = self._state
        exchange = self._exchange
        if exchange is None:
            if state == _IDLE:  # nobody asked: whatever it is, it must not answer the next request
                self.close()
            return
        if state == _AWAITING:
            self._take_head(exchange, self._buffer + data if self._buffer else data)
        elif state == _BODY:
            self._take_body(exchange, data)
        elif state == _TUNNEL:
            exchange.tunnel_data(data)

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""
        self._read_closed = True
        exchange = self._exchange
        if self._state == _TUNNEL and exchange is not None:
            if self._write_closed:
                self._drop_tunnel()
            exchange.tunnel_ended()
        else:
            self._lost("closed", whole=True)
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol."""
        done = reason.check(ConnectionDone) is not None
        self._lost("closed" if done else f"lost ({reason.getErrorMessage()})", whole=done)

    def _lost(self, how: str, whole: bool) -> None:
        """The upstream will send no more; ``whole``: it said so itself."""
        state, exchange = self._state, self._exchange
        self._exchange = None
        self._leave()
        if exchange is None:
            return
        if state == _TUNNEL:
            exchange.tunnel_lost()
        elif state == _BODY and exchange.until_close and whole:
            exchange.response_end(b"")
        elif state == _BODY:
            exchange.upstream_failed(UpstreamError("body", f"the connection was {how} before the response's end"))
        elif self._buffer or self._informational:
            self._blame(exchange, UpstreamError("head", f"the connection was {how} within the response header"))
        else:
            error = UpstreamError("head", f"the connection was {how} before any response")
            if self.exchanges == 1:  # one that was idle may have been closed for that
                self._owner.failed(error)
            exchange.upstream_unanswered(self, error)

    def _blame(self, exchange: Exchange, error: UpstreamError) -> None:
        """The upstream did not answer, or not in HTTP."""
        self._owner.failed(error)
        exchange.upstream_failed(error)

    def pauseProducing(self) -> None:
        """See IPushProducer: the upstream does not take the request's body as fast as it comes."""
        if self._paused:
            return
        self._paused = True
        self._unsent = unsent(self.transport)
        self._renew_deadline()
        if self._exchange is not None:
            self._exchange.pause_request()

    def resumeProducing(self) -> None:
        """See IPushProducer: it has taken all."""
        self._paused = False
        self._renew_deadline()
        if self._write_closed:  # a FileDescriptor forgets it over resuming its producer
            self.transport.loseWriteConnection()
        if self._exchange is not None:
            self._exchange.resume_request()

    def stopProducing(self) -> None:
        """See IPushProducer: the connection is going; connectionLost tells the exchange."""

    def expire(self, now: float) -> None:
        """The deadline has passed; see Deadlines."""
        if self._paused:
            left = unsent(self.transport)
            if left and left != self._unsent:  # slow, but moving
                self._unsent = left
                self.deadline = now + self._timeouts.body
                return
        exchange, state = self._exchange, self._state
        self.abandon()
        if exchange is None:
            return
        if self._paused:
            error = UpstreamError("send", f"it took nothing of the request for {self._timeouts.body:g} s", 504)
        elif state == _AWAITING:
            error = UpstreamError("head", f"it did not answer within {self._timeouts.first_byte:g} s", 504)
        else:
            error = UpstreamError("body", f"it sent nothing of the response for {self._timeouts.body:g} s", 504)
            exchange.upstream_failed(error)
            return
        self._blame(exchange, error)

    def _renew_deadline(self) -> None:
        """Allow the upstream its time for whatever is its turn to do; NEVER while the turn is the client's."""
        if self._paused:
            allowed = self._timeouts.body
        elif self._response_paused:
            allowed = NEVER
        elif self._state == _AWAITING:
            allowed = self._timeouts.first_byte if self._request_ended else NEVER
        else:
            allowed = self._timeouts.body if self._state == _BODY else NEVER
        self.deadline = self._deadlines.seconds() + allowed

    # --- the response ---

    def _take_head(self, exchange: Exchange, data: bytes) -> None:
        end = data.find(HEAD_END)
        if end < 0:
            self._buffer = data
            if len(data) > _HEAD_BYTES:
                self._fail(exchange, UpstreamError("head", f"it sent a header larger than {_HEAD_BYTES} bytes"))
            return
        end += 4
        self._buffer = b""
        try:
            response = read_response(data if end == len(data) else data[:end], self._method)
        except UpstreamError as error:
            self._fail(exchange, error)
            return
        rest = data[end:]
        if response.status < 200:
            self._take_informational(exchange, response, rest)
            return
        if not response.keep_alive or response.framing == UNTIL_CLOSE:
            self._reusable = False
        self._state = _BODY
        self.answers += 1
        framing = response.framing
        if 0 <= framing == len(rest):  # all of it is here already, as with most answers
            exchange.response_head(response)
            self._finish(exchange, rest, b"")
            return
        self._body = reader_for(framing)
        exchange.response_head(response)
        if self._body.done:
            self._finish(exchange, b"", rest)
            return
        if rest and self._exchange is exchange:
            self._take_body(exchange, rest)
        if self._exchange is exchange:
            exchange.flush()
            self._renew_deadline()

    def _take_informational(self, exchange: Exchange, response: ResponseHead, rest: bytes) -> None:
        self._informational += 1
        if response.status == 101:
            if not exchange.may_switch(response):
                self._fail(exchange, UpstreamError("head", "it switched protocols without having been asked to"))
                return
            self._state = _TUNNEL
            self.answers += 1
            self._reusable = False
            self.deadline = NEVER
            exchange.switched(response)
            if rest and self._exchange is exchange:
                exchange.tunnel_data(rest)
            return
        if self._informational > _INFORMATIONAL_RESPONSES:
            self._fail(exchange, UpstreamError("head", f"it sent more than {_INFORMATIONAL_RESPONSES} 1xx responses"))
            return
        if response.status != 100:  # that one is the appliance's own to say
            exchange.informational(response)
        if rest:
            self._take_head(exchange, rest)

    def _take_body(self, exchange: Exchange, data: bytes) -> None:
        body = self._body
        assert body is not None
        try:
            piece = body.feed(data)
        except BodyError as error:
            self._fail(exchange, UpstreamError("body", f"it sent {error}"))
            return
        if body.done:
            self._finish(exchange, piece, body.surplus, body.trailers)
            return
        if piece:
            exchange.response_body(piece)
        self._renew_deadline()

    def _finish(self, exchange: Exchange, piece: bytes, surplus: bytes, trailers: Fields | None = None) -> None:
        """The response is complete. Back to the pool first: answering may bring on the next request."""
        self._exchange = None
        self._body = None
        if self._reusable and not surplus and self._request_ended and not self._paused:
            self._state = _IDLE
            if self._response_paused:
                self._response_paused = False
                self.transport.resumeProducing()
            self.deadline = self._deadlines.seconds() + self._timeouts.upstream_idle
            self._owner.released(self)
        else:
            self.close()
        exchange.response_end(piece, trailers)

    def _fail(self, exchange: Exchange, error: UpstreamError) -> None:
        self.abandon()
        self._blame(exchange, error)

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "upstream"
