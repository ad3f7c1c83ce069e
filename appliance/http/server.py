"""The client-facing HTTP/1.1 connection: one request after the other, each answered by an exchange or on the spot.

IDLE ──head──▶ BUSY ──answered, body read──▶ IDLE
                ├──answered, must close──▶ a `Closing`
                └──101──▶ a `ClientTunnel`

It can be asked to end: by `drain` as soon as may be, by `retire` without anybody noticing. Whoever asks knows it until
the socket is closed, also while a successor has the transport.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.config import Limits, Timeouts
from appliance.errors import RequestError
from appliance.http.body import LAST_CHUNK, BodyError, BodyReader, UntilCloseReader, chunk, last_chunk, reader_for
from appliance.http.closing import Closing
from appliance.http.flow import unsent
from appliance.http.handover import hand_over
from appliance.http.http1 import HEAD_END, check_partial_head, read_request, write_response
from appliance.http.message import NO_BODY, Fields, RequestHead, ResponseHead
from appliance.http.observing import Observer
from appliance.http.serving import Exchange, Handler
from appliance.http.tunnel import ClientTunnel
from appliance.net.deadlines import NEVER, Deadlines
from appliance.net.proxyprotocol import Connection

_IDLE: Final = 0
_BUSY: Final = 1
_GONE: Final = 2

_JOIN_BYTES = 16 * 1024
_READ_AHEAD_BYTES = 64 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@implementer(IProtocol, IHalfCloseableProtocol, IHandshakeListener, IPushProducer)
class ServerConnection:
    """One client's connection. Everything below "from the exchange" is for what answers; the rest is Twisted's."""

    protocol = ""
    """See http.observing.Client."""

    __slots__ = (
        "__weakref__",
        "_advancing",
        "_allowed",
        "_awaited",
        "_body",
        "_buffer",
        "_chunked",
        "_deadlines",
        "_exchange",
        "_first_by",
        "_half_closed",
        "_handler",
        "_head",
        "_leaving",
        "_limits",
        "_moved",
        "_observer",
        "_paused",
        "_reading_stopped",
        "_request",
        "_requests",
        "_scanned",
        "_state",
        "_tell_gone",
        "_tell_secured",
        "_timeouts",
        "_tunnel",
        "_unsent",
        "client",
        "deadline",
        "logged",
        "memo",
        "port",
        "scheme",
        "tls",
        "transport",
    )

    def __init__(
        self,
        handler: Handler,
        deadlines: Deadlines,
        limits: Limits,
        timeouts: Timeouts,
        scheme: bytes,
        gone: Callable[[ServerConnection], None] | None = None,
        observer: Observer | None = None,
        secured: Callable[[ServerConnection], None] | None = None,
    ) -> None:
        """``gone`` is told of the connection's end; ``secured`` of its TLS handshake's, and may take it over."""
        self._handler = handler
        self._deadlines = deadlines
        self._limits = limits
        self._timeouts = timeouts
        self.scheme = scheme
        self._tell_gone = gone
        self._tell_secured = secured
        self._observer = observer
        self.transport: Any = None
        self.client = ""
        """The peer's IP address; empty on a UNIX socket."""
        self.port = 0
        """The port the client connected to; 0 on a UNIX socket."""
        self.logged: Any = None
        """See http.observing.Client."""
        self.tls = ""
        """The version of TLS; only known while there is an observer, who asks for it."""
        self.memo: Any = None
        """The handler's own, for what does not change between the requests of one connection."""
        self.deadline = NEVER
        self._state = _IDLE
        self._buffer = b""
        self._first_by = NEVER
        """When the first request's header must be whole, however slow the phases before were."""
        self._scanned = 0
        self._request: RequestHead | None = None
        self._body: BodyReader | None = None
        self._exchange: Exchange | None = None
        self._head = b""
        self._advancing = False
        self._allowed: float = inf
        self._awaited = True
        self._chunked = False
        self._moved = 0
        self._requests = 0
        self._paused = False
        self._reading_stopped = False
        self._half_closed = False
        self._unsent = 0
        self._leaving = False
        self._tunnel: ClientTunnel | None = None
        """What the connection has become."""

    @property
    def ends(self) -> Connection | None:
        """Both ends of the connection, as the PROXY protocol tells them; None on a UNIX socket."""
        peer, host = self.transport.getPeer(), self.transport.getHost()
        if not isinstance(peer, IPv4Address | IPv6Address) or not self.client:
            return None
        return Connection(self.client, peer.port, host.host.partition("%")[0].removeprefix("::ffff:"), host.port)

    @property
    def resting(self) -> bool:
        """Whether it only waits for a next request, having answered others."""
        return self._state == _IDLE and self._requests > 0 and not self._buffer

    # --- from Twisted ---

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        peer = transport.getPeer()
        if isinstance(peer, IPv4Address | IPv6Address):
            self.client = peer.host.partition("%")[0].removeprefix("::ffff:")
            self.port = _local_port(transport)
        limit = self._timeouts.handshake if self.scheme == b"https" else self._timeouts.header
        self.deadline = self._deadlines.seconds() + limit
        # Slow in each phase by itself, a client could take one more sweep for each of them.
        self._first_by = self.deadline + 2 * self._timeouts.header - 1.0
        self._deadlines.add(self)
        transport.registerProducer(self, True)

    def connectionMade(self) -> None:
        """See IProtocol."""

    def handshakeCompleted(self) -> None:
        """See IHandshakeListener: the time for a first request begins."""
        self.deadline = self._deadlines.seconds() + self._timeouts.header
        if self._observer is not None:
            self.tls = self.transport.getHandle().get_protocol_version_name()
            self._observer.handshake_completed(self.tls)
        if self._tell_secured is not None:
            self._tell_secured(self)

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        state = self._state
        if state == _IDLE:
            if self._buffer:
                data = self._buffer + data
            elif not self._paused:
                self.deadline = self._deadlines.seconds() + self._timeouts.header
                if not self._requests and self.deadline > self._first_by:
                    self.deadline = self._first_by
            self._buffer = data
            self._advance()
        elif state == _BUSY:
            self._request_data(data)

    def readConnectionLost(self) -> None:
        """See IHalfCloseableProtocol: a client that asked and closed its side still gets its answer."""
        self._half_closed = True
        if self._state == _BUSY:
            if self._body is not None:
                self._refuse(400)
        elif self._state == _IDLE and not (self._buffer and self._paused):
            self._drop()

    def writeConnectionLost(self) -> None:
        """See IHalfCloseableProtocol."""

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol."""
        self._state = _GONE
        self.deadline = NEVER
        self._deadlines.discard(self)
        self._buffer = b""
        self._tunnel = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_lost()
        if self._observer is not None:
            self._tell_of_end(self._observer, reason)
        if self._tell_gone is not None:
            self._tell_gone(self)

    def _tell_of_end(self, observer: Observer, reason: Failure) -> None:
        """Whatever was under way as the connection ended has ended too."""
        if self.scheme == b"https" and not self.tls and getattr(self.transport, "handshaking", True):
            observer.handshake_failed(reason.value)
        request, self._request = self._request, None
        if request is not None:
            observer.end(request, self, self._deadlines.seconds(), request.status == 101)

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
        if self._state == _IDLE:  # what begins now may fill the socket at once, and be paused
            self._rest(self._deadlines.seconds())
            return
        self._renew_deadline()
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
        elif (self._state == _BUSY and self._awaited) or (self._state == _IDLE and self._buffer.strip(b"\r\n")):
            self._refuse(408)
            return
        elif self._state == _IDLE and not getattr(self.transport, "handshaking", False):
            self._drop()
            return
        self._abort()

    def _renew_deadline(self) -> None:
        """While BUSY: allow the client its time if it is its turn to send. While paused, time runs on."""
        if self._paused:
            return
        self._moved = 0
        if self._state == _BUSY and self._body is not None and not self._reading_stopped:
            self.deadline = self._deadlines.seconds() + self._timeouts.body
        else:
            self.deadline = NEVER

    @property
    def _least(self) -> float:
        """Bytes of a body that must come within its time, lest a client holds us for ever with one now and then."""
        return self._limits.body_rate * self._timeouts.body

    # --- reading requests ---

    def _advance(self) -> None:
        """Take requests from the buffer for as long as nothing is under way; never from within itself."""
        self._advancing = True
        try:
            self._take_requests()
        except RequestError as error:
            self._refuse(error.status)
        finally:
            self._advancing = False

    def _take_requests(self) -> None:
        while self._state == _IDLE and self._buffer:
            if self._paused:  # answers are not read, so no more of them are made
                self._stop_reading()
                return
            data = self._buffer
            start = 2 if data.startswith(b"\r\n") else 0  # RFC 9112 section 2.2: one is tolerated before a request
            end = data.find(HEAD_END, max(self._scanned - 3, start))
            if end < 0:
                check_partial_head(data, self._scanned, self._limits)
                self._scanned = len(data)
                if self._half_closed:
                    self._drop()
                return
            end += 4
            self._scanned = 0
            self._buffer = b""
            request = read_request(data if end - start == len(data) else data[start:end], self._limits)
            self._begin(request, data[end:])

    def _begin(self, request: RequestHead, rest: bytes) -> None:
        self._state = _BUSY
        self._request = request
        self._awaited = True
        observer = self._observer
        if observer is not None:
            request.number = observer.begun = observer.begun + 1
            request.started = self.deadline - self._timeouts.header  # which was set when the head began to arrive
        self._requests += 1
        if self._requests >= self._limits.requests_per_connection:
            request.keep_alive = False
        framing = request.framing
        if framing == NO_BODY:
            self._body = None
            self._buffer = rest
            self.deadline = NEVER
        else:
            self._allowed = inf if self._limits.body_bytes is None else self._limits.body_bytes
            if framing > self._allowed:
                raise RequestError(413, "request body too large")
            self._body = reader_for(framing)
            self._moved = 0
            self.deadline = self._deadlines.seconds() + self._timeouts.body
        exchange = self._handler.handle(self, request)
        if exchange is None:
            return
        self._exchange = exchange
        if rest and self._body is not None:  # before anything is sent upstream: the body may be broken
            self._request_data(rest)
            if self._exchange is not exchange:
                return
        exchange.start()

    def _request_data(self, data: bytes) -> None:
        body = self._body
        if body is None:  # the next request, ahead of its turn
            self._buffer += data
            if len(self._buffer) > _READ_AHEAD_BYTES:
                self._stop_reading()
            return
        try:
            piece = body.feed(data)
        except BodyError:
            self._refuse(400)
            return
        self._allowed -= len(piece)
        if self._allowed < 0:
            self._refuse(413)
            return
        exchange = self._exchange
        if self._observer is not None:
            assert self._request is not None
            self._request.bytes_in += len(piece)
        self._moved += len(piece)
        if self._moved >= self._least:
            self._renew_deadline()
        if exchange is not None and piece:
            exchange.body_received(piece)
        if body.done and self._body is body:
            self._body = None
            self._buffer = body.surplus
            self._renew_deadline()
            if exchange is not None and self._exchange is exchange:
                exchange.body_ended(body.trailers)

    def _stop_reading(self) -> None:
        if not self._reading_stopped:
            self._reading_stopped = True
            self.transport.pauseProducing()

    def _start_reading(self) -> None:
        if self._reading_stopped:
            self._reading_stopped = False
            self.transport.resumeProducing()

    # --- from the exchange, or the handler ---

    def pause_request(self) -> None:
        """Take no more of the request's body for now."""
        if self._state == _BUSY:
            self._stop_reading()
            self._renew_deadline()

    def resume_request(self) -> None:
        """Go on taking the request's body."""
        if self._reading_stopped and self._state == _BUSY:
            self._start_reading()
            self._renew_deadline()

    def send_continue(self) -> None:
        """Ask a client that waits for it to send the body (RFC 9110 section 10.1.1)."""
        if self._state == _BUSY and self._awaited and self._body is not None and not self._buffer:
            self.transport.write(_CONTINUE)

    def send_informational(self, response: ResponseHead) -> None:
        """Pass on a 1xx that is neither 100 nor 101; HTTP/1.0 knows none."""
        if self._request is not None and self._request.version == 1:
            self.transport.write(write_response(response, 1, True))

    def send_head(self, response: ResponseHead) -> None:
        """Begin the response. It is held back until `send_body`, `end` or `flush`, to go out in one write."""
        request = self._request
        assert request is not None
        self._awaited = False
        request.status = response.status
        if request.response_edit is not None:
            request.response_edit.apply(response)
        framing = response.framing
        if framing == NO_BODY and response.stated_length is None:
            _state_length(response, request.method)
        self._chunked = framing < 0 and request.version == 1
        if (framing < 0 and request.version == 0) or self._body is not None or self._last():
            request.keep_alive = False
        self._head = write_response(response, request.version, request.keep_alive)

    def flush(self) -> None:
        """Send a head that is held back."""
        head = self._head
        if head:
            self._head = b""
            self.transport.write(head)
            if self._observer is not None:
                assert self._request is not None
                self._request.answered = self._deadlines.seconds()

    def send_body(self, data: bytes) -> None:
        """Send a piece of the response's body, not empty."""
        if self._observer is not None:
            request = self._request
            assert request is not None
            request.bytes_out += len(data)
            request.answered = request.answered or self._deadlines.seconds()
        self._write_body(chunk(data) if self._chunked else data)

    def _write_body(self, data: bytes) -> None:
        head = self._head
        if head:
            self._head = b""
            if len(data) <= _JOIN_BYTES:
                data = head + data
            else:
                self.transport.write(head)
        self.transport.write(data)

    def end(self, trailers: Fields | None = None) -> None:
        """The response is complete; trailers are for clients that said ``TE: trailers``, and for chunks."""
        request = self._request
        assert request is not None
        tail = self._head
        self._head = b""
        if self._chunked:
            self._chunked = False
            tail += last_chunk(trailers) if trailers and request.takes_trailers else LAST_CHUNK
        if tail:
            self.transport.write(tail)
        if self._state != _BUSY:
            return
        self._exchange = None
        self._request = None
        now = self._deadlines.seconds()
        if self._observer is not None:
            self._observer.end(request, self, now, True)
        if self._body is not None:
            self._linger()
            return
        if not request.keep_alive or self._last():
            self._drop()
            return
        self._state = _IDLE
        if not self._paused:
            self._rest(now)

    def _last(self) -> bool:
        """Whether no request can follow: the client closed its half, and none came before that."""
        return self._half_closed and not self._buffer

    def _rest(self, now: float) -> None:
        """Wait for the next request, or take it if it is here already."""
        self.deadline = now + (self._timeouts.header if self._buffer else self._timeouts.idle)
        if self._reading_stopped:
            self._start_reading()
        if self._buffer and not self._advancing:
            self._advance()

    def end_chunked_and_body(self, data: bytes) -> None:
        """Send the last piece of a response's body and its end in one write."""
        if self._observer is not None:
            assert self._request is not None
            self._request.bytes_out += len(data)
        if self._chunked:
            self._chunked = False
            data = chunk(data) + LAST_CHUNK
        self._write_body(data)
        self.end()

    def answer(self, page: tuple[ResponseHead, bytes]) -> None:
        """Answer the request on the spot, with ``(head, body)`` of `pages`."""
        request = self._request
        assert request is not None
        head, body = page
        if body and request.method == b"HEAD":
            head.stated_length, head.framing, body = len(body), NO_BODY, b""
        self.send_head(head)
        if body:
            self.send_body(body)
        self.end()

    def fail(self, status: int, reset: int | None = None, fields: Fields | tuple[()] = ()) -> None:
        """The exchange came to nothing: an error page if nothing was sent yet, else the connection is broken off.

        A response that was cut short must not look complete (RFC 9112 section 8).
        """
        self._exchange = None
        if self._awaited and self._state == _BUSY:
            assert self._request is not None
            self.answer(self._handler.errors.answer(status, self._request, fields))
        else:
            self._abort()

    def switch(self, response: ResponseHead) -> ClientTunnel:
        """Send the 101 and become a tunnel."""
        request, exchange = self._request, self._exchange
        assert request is not None
        assert exchange is not None
        self.send_head(response)
        self.flush()
        self._exchange = None
        ahead, self._buffer = self._buffer, b""
        self._start_reading()
        if self._paused:  # if the socket is still full, the tunnel is told so anew
            exchange.resume()
        self._tunnel = ClientTunnel(
            exchange,
            self._deadlines,
            self._timeouts,
            request if self._observer is not None else None,
            request.upgrade.lower() == b"websocket",
            ahead,
            self._half_closed,
            self.connectionLost,
        )
        self.hand_over(self._tunnel)
        if self._leaving:
            self._tunnel.leave()
        return self._tunnel

    # --- endings ---

    def hand_over(self, successor: IProtocol) -> None:
        """Be done with the transport, which is somebody else's from now on."""
        self._state = _GONE
        self.deadline = NEVER
        self._deadlines.discard(self)
        hand_over(self.transport, successor)

    def drain(self) -> None:
        """Let the request under way come to its end and take no other; end a tunnel, with a word if that can be."""
        self._leaving = True
        self.retire()
        if self._tunnel is not None:
            self._tunnel.leave()
        elif self._state == _IDLE and not self._buffer:
            self._drop()
        elif self._request is not None:
            self._request.keep_alive = False

    def retire(self) -> None:
        """Let the next response that is begun be the last, and say so: no client meets a connection that closes."""
        self._requests = self._limits.requests_per_connection
        if self._awaited and self._request is not None and self._state == _BUSY:
            self._request.keep_alive = False

    def abort(self) -> None:
        """End it at once, whoever has the transport now."""
        self._abort()

    def _refuse(self, status: int) -> None:
        """Answer an error and close: what follows on this connection cannot be trusted."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_lost()
        if self._state == _BUSY and not self._awaited:
            self._abort()
            return
        self._state = _BUSY
        if self._request is None:
            self._request = RequestHead(b"", b"", 1)
            observer = self._observer
            if observer is not None:
                self._request.number = observer.begun = observer.begun + 1
                self._request.started = self._deadlines.seconds()
        self._awaited = True
        self._body = UntilCloseReader()  # whatever still comes is not a request any more
        self.answer(self._handler.errors.answer(status, self._request))

    def _linger(self) -> None:
        """Close after all was sent, although the client may still be sending."""
        self._buffer = b""
        self._body = None
        self._start_reading()
        if self._half_closed:
            self._drop()
        else:
            self._closing().close_half()

    def _drop(self) -> None:
        """Close after all was sent."""
        self._closing().close()

    def _closing(self) -> Closing:
        closing = Closing(self._deadlines, self._timeouts.body, self.connectionLost)
        self.hand_over(closing)
        return closing

    def _abort(self) -> None:
        """Close at once; whatever was not sent is lost."""
        self._state = _GONE
        self.deadline = NEVER
        self.transport.abortConnection()

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "https" if self.scheme == b"https" else "http"


def _local_port(transport: Any) -> int:
    """The port that the peer connected to, which transports of ours tell without making an address of it."""
    port: int | None = getattr(transport, "local_port", None)
    return transport.getHost().port if port is None else port


def _state_length(response: ResponseHead, method: bytes) -> None:
    """Say that nothing follows, where a client would wait for the connection's end (RFC 9112 section 6.3)."""
    if response.status >= 200 and response.status not in (204, 304) and method != b"HEAD":
        response.stated_length = 0
