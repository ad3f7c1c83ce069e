"""One request over HTTP/2: the stream that carries it, joined to the exchange that answers it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from appliance.errors import RequestError
from appliance.http.http2bounds import RESET, STALLED
from appliance.http.http2frames import (
    CANCEL,
    INTERNAL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Http2ConnectionError,
)
from appliance.http.http2headers import response_fields
from appliance.http.http2server import ServerStream
from appliance.http.message import NO_BODY, Fields, RequestHead, ResponseHead
from appliance.http.observing import Observer
from appliance.http.serving import Exchange
from appliance.net.deadlines import NEVER

if TYPE_CHECKING:
    from appliance.http.http2 import Http2Connection
    from appliance.net.proxyprotocol import Connection

_LITTLE = 64 * 1024
"""Bytes of a request's content that are waited for after its answer."""
_LINGER_SECONDS = 2.0

_CONTINUE = [(b":status", b"100")]


class Stream(ServerStream):
    """To the handler a client, to the exchange its downstream; see `serving` for both faces.

    A stream is in the sweep of deadlines only while it is the client's turn to send or to take something.
    """

    __slots__ = (
        "_allowed",
        "_awaited",
        "_connection",
        "_engine",
        "_exchange",
        "_expecting",
        "_head",
        "_held",
        "_lingering",
        "_moved",
        "_observer",
        "_refused",
        "_request",
        "_swept",
        "_unsent",
        "deadline",
    )

    def __init__(self, connection: Http2Connection, stream_id: int, request: RequestHead | RequestError) -> None:
        super().__init__(stream_id)
        self._connection = connection
        self._engine = connection.engine
        self._refused = 0
        """The status for what was no request."""
        if isinstance(request, RequestError):
            self._refused = request.status
            request = RequestHead(b"", b"", 1)
        self._request = request
        self._exchange: Exchange | None = None
        self._head: ResponseHead | None = None
        """The response's head, held back to go out together with what follows it."""
        self._awaited = True
        self._held = False
        """Whether the exchange takes no more of the request for now."""
        self._allowed: float = inf
        self._expecting: float = inf
        """How much of the stated content is still to come."""
        self._lingering = False
        """Whether the answer is whole, and the request not."""
        self._moved = 0
        """Bytes of the request's content since the deadline was set."""
        self._observer: Observer | None = connection.observer
        """Until it has been told the end."""
        self._swept = False
        self._unsent = 0
        self.deadline = NEVER

    # --- what a handler asks of a client ---

    @property
    def client(self) -> str:
        """The peer's IP address; empty on a UNIX socket."""
        return self._connection.client

    @property
    def port(self) -> int:
        """The port the client connected to; 0 on a UNIX socket."""
        return self._connection.port

    @property
    def scheme(self) -> bytes:
        """Always https: there is no HTTP/2 here without ALPN."""
        return self._connection.scheme

    @property
    def ends(self) -> Connection | None:
        """Both ends of the connection, as the PROXY protocol tells them; None on a UNIX socket."""
        return self._connection.ends

    @property
    def transport(self) -> Any:
        """The connection's."""
        return self._connection.transport

    @property
    def memo(self) -> Any:
        """The handler's own, for what does not change between the requests of one connection."""
        return self._connection.memo

    @memo.setter
    def memo(self, memo: Any) -> None:
        self._connection.memo = memo

    # --- from the engine ---

    def begin(self) -> None:
        """See ServerStream."""
        connection, request = self._connection, self._request
        observer = self._observer
        if observer is not None:
            request.number = observer.begun = observer.begun + 1
            request.started = connection.deadlines.seconds()
        if self._refused:
            self.fail(self._refused)
            return
        if request.framing == NO_BODY:
            if not request.upgrade:
                self._expecting = (
                    0  # even if the client has not ended the stream yet: the request is passed on as whole
                )
        else:
            self._allowed = inf if connection.limits.body_bytes is None else connection.limits.body_bytes
            if request.framing > 0:
                self._expecting = request.framing
            if request.framing > self._allowed:
                self.fail(413)
                return
            self._renew_deadline()
        self._exchange = connection.handler.handle(self, request)

    def start(self) -> None:
        """See ServerStream."""
        if self._exchange is not None:
            self._exchange.start()

    def data_received(self, data: bytes) -> None:
        """See FlowStream."""
        size = len(data)
        self._expecting -= size
        self._allowed -= size
        if self._expecting < 0:
            self.untaken += size
            self._break_for_length()
            return
        if self._allowed < 0:
            self.untaken += size
            self._let_go()
            self.fail(413)
            return
        if self._observer is not None:
            self._request.bytes_in += size
        if self._held:
            self.untaken += size
        else:
            self._engine.taken(self, size)
            self._moved += size
            if self._moved >= self._connection.limits.body_rate * self._connection.timeouts.body:
                self._renew_deadline()
        if self._exchange is not None:
            self._exchange.body_received(data)

    def remote_ended(self, trailers: Fields) -> None:
        """See FlowStream."""
        if 0 < self._expecting < inf:
            self._break_for_length()
            return
        self._renew_deadline()
        if self._exchange is not None:
            self._exchange.body_ended(trailers)

    def answered(self) -> None:
        """See ServerStream: the client is told that nobody reads it, unless little is missing, which is waited for.

        Some clients, curl 7.88 among them, take a reset for a failure, whatever came before it.
        """
        if 0 <= self._expecting <= min(_LITTLE, self._allowed):
            self._lingering = True
            self._tell_of_end()
            self._sweep_at(self._connection.deadlines.seconds() + _LINGER_SECONDS)
        else:
            self._engine.reset(self, NO_ERROR)

    def was_reset(self, code: int) -> None:
        """See FlowStream."""
        self._let_go()

    def drained(self) -> None:
        """See FlowStream."""
        self._renew_deadline()
        if self._exchange is not None:
            self._exchange.resume()

    def closed(self) -> None:
        """See ServerStream: the last thing a stream hears."""
        if self._swept:
            self._connection.deadlines.discard(self)
        self._tell_of_end()

    def _tell_of_end(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None and self.begun:
            connection = self._connection
            observer.end(self._request, connection, connection.deadlines.seconds(), self.local_closed)

    def _let_go(self) -> None:
        """Nobody is left to be answered."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_lost()

    def _break(self, code: int) -> None:
        """End the stream for what the client sent on it, or did not take."""
        self._engine.reset(self, code)
        self._let_go()

    def _break_for_length(self) -> None:
        """The content is not as long as was stated (RFC 9113 section 8.1.1)."""
        self._break(PROTOCOL_ERROR)
        self._engine.patience.spend(RESET, "content that is not as long as stated")

    # --- from the exchange, or the handler ---

    def pause_request(self) -> None:
        """Take no more of the request's body: nothing of what comes is offered to the client again."""
        self._held = True
        self._renew_deadline()

    def resume_request(self) -> None:
        """Go on taking the request's body."""
        self._held = False
        untaken, self.untaken = self.untaken, 0
        if untaken:
            self._engine.taken(self, untaken)
        self._renew_deadline()

    def send_continue(self) -> None:
        """Ask a client that waits for it to send the body (RFC 9110 section 10.1.1)."""
        if self._awaited and not self.remote_closed:
            self._engine.send_headers(self, _CONTINUE, False)

    def send_informational(self, response: ResponseHead) -> None:
        """Pass on a 1xx that is neither 100 nor 101."""
        self._engine.send_headers(self, response_fields(response), False)

    def send_head(self, response: ResponseHead) -> None:
        """Begin the response. It is held back until `send_body`, `end` or `flush`, to go out with it."""
        self._awaited = False
        self._head = response
        request = self._request
        if request.response_edit is not None:
            request.response_edit.apply(response)
        request.status = response.status
        if self._observer is not None:
            request.answered = self._connection.deadlines.seconds()

    def flush(self) -> None:
        """Send a head that is held back."""
        head, self._head = self._head, None
        if head is not None:
            self._engine.send_headers(self, response_fields(head), False)

    def send_body(self, data: bytes) -> None:
        """Send a piece of the response's body, not empty."""
        self._request.bytes_out += len(data)
        if self._head is not None:
            self.flush()
        self._engine.sender.send(self, data, False)
        if self.pending:
            self._wait_for_client()

    def end(self, trailers: Fields | None = None) -> None:
        """The response is complete."""
        self._exchange = None
        if trailers:
            self.flush()
            self._engine.sender.finish(self, trailers)
            if self.pending:
                self._wait_for_client()
            return
        head, self._head = self._head, None
        if head is not None:
            self._engine.send_headers(self, response_fields(head), True)
        else:
            self._engine.sender.send(self, b"", True)
            self._renew_deadline()

    def end_chunked_and_body(self, data: bytes) -> None:
        """Send the last piece of a response's body and its end."""
        self._exchange = None
        self._request.bytes_out += len(data)
        head, self._head = self._head, None
        if head is not None:
            self._engine.send_answer(self, response_fields(head), data)
        else:
            self._engine.sender.send(self, data, True)
        if self.pending:
            self._wait_for_client()

    def answer(self, page: tuple[ResponseHead, bytes]) -> None:
        """Answer the request on the spot, with ``(head, body)`` of `pages`."""
        head, body = page
        if body and self._request.method == b"HEAD":
            head.stated_length, head.framing, body = len(body), NO_BODY, b""
        self.send_head(head)
        if body:
            self.end_chunked_and_body(body)
        else:
            self.end()

    def fail(self, status: int, reset: int | None = None, fields: Fields | tuple[()] = ()) -> None:
        """The exchange came to nothing: an error page if nothing was sent yet, else the stream is broken off.

        A response that was cut short must not look complete. A request that no application has seen is the client's to
        send again (RFC 9113 section 8.7).
        """
        self._exchange = None
        if self._awaited and reset != REFUSED_STREAM:
            self.answer(self._connection.handler.errors.answer(status, self._request, fields))
        else:
            self._engine.reset(self, INTERNAL_ERROR if reset is None else reset)

    # --- time ---

    def _wait_for_client(self) -> None:
        """The client does not take what there is: no more of it is made."""
        self._unsent = self.pending_bytes
        self._renew_deadline()
        if self._exchange is not None:
            self._exchange.pause()

    def _renew_deadline(self) -> None:
        """Allow the client its time, if it is its turn to send or to take."""
        if self._lingering:
            return
        if self.pending or not (self.remote_closed or self._held or self._may_be_silent):
            self._moved = 0
            self._sweep_at(self._connection.deadlines.seconds() + self._connection.timeouts.body)
        else:
            self.deadline = NEVER

    @property
    def _may_be_silent(self) -> bool:
        request = self._request
        return isinstance(request, RequestHead) and request.open_ended

    def _sweep_at(self, deadline: float) -> None:
        self.deadline = deadline
        if not self._swept and self.id in self._engine.streams:
            self._swept = True
            self._connection.deadlines.add(self)

    def expire(self, now: float) -> None:
        """The deadline has passed; see Deadlines."""
        connection = self._connection
        if self._lingering:
            self._engine.reset(self, NO_ERROR)
        elif self.pending:
            if (
                connection.paused or self.pending_bytes != self._unsent
            ):  # the connection's to judge; or slow, but moving
                self._unsent = self.pending_bytes
                self.deadline = now + connection.timeouts.body
                return
            try:
                self._engine.patience.spend(STALLED, "windows kept shut")
            except Http2ConnectionError as fault:
                connection.fault(fault)
                return
            self._break(CANCEL)
        elif self._may_be_silent:
            self.deadline = NEVER
        elif self._awaited:
            self._let_go()
            self.fail(408)
        else:
            self._break(CANCEL)
