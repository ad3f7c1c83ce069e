"""One proxied request from start to end: it joins what a client's connection and an upstream's tell.

It decides what may be tried again, and hands flow control across; what to frame, and how, is the two connections' own.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from appliance.errors import UpstreamError
from appliance.http.message import NO_BODY, UNTIL_CLOSE, Fields, RequestHead, ResponseHead
from appliance.http.serving import Downstream, Switching, Tunnel
from appliance.net.proxyprotocol import Connection

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods that may be sent twice (RFC 9110 section 9.2.2)."""


_REFUSALS = 3
"""How often a request is sent again that the upstream says it has not looked at."""


class Carrier(Protocol):
    """What takes one request to an upstream and the answer back: an HTTP/1.1 connection, or a stream of HTTP/2."""

    @property
    def exchanges(self) -> int:
        """How many requests were sent over its connection by then."""

    @property
    def answers(self) -> int:
        """As many, if each of them has begun to be answered."""

    deadline: float

    def send(
        self, exchange: Any, request: RequestHead, target: bytes, own_fields: bytes, body: bytes, ended: bool
    ) -> None:
        """Begin a request, with what there is of its body; ``ended`` if that is all of it.

        To be noted in the request: whom it goes to, and when.
        """

    def send_body(self, data: bytes) -> None:
        """Send a piece of the request's body, not empty; or bytes of a tunnel."""

    def end_request(self, trailers: Fields | None = None) -> None:
        """The request is complete; in a tunnel: the client will send no more."""

    def pause(self) -> None:
        """Take no more of the response for now."""

    def resume(self) -> None:
        """Go on taking the response."""

    def abandon(self) -> None:
        """The exchange is over before its end."""

    def close(self) -> None:
        """It is not wanted."""


class Upstream(Protocol):
    """Where connections come from: a pool."""

    def acquire(self, exchange: Exchange, fresh: bool) -> None:
        """Answer with ``upstream_ready`` or ``upstream_failed``, at once or later; ``fresh``: not a reused one."""

    def may_replay(self, connection: Carrier, sent: float, replays: int) -> bool:
        """Whether a request that may be sent again should be: ``connection`` ended before any byte of a response.

        It was ``sent`` then, and again before that so many times.
        """

    def forget(self, exchange: Exchange) -> None:
        """The exchange does not wait for a connection any more."""

    def report(self, exchange: Exchange, error: UpstreamError) -> None:
        """An exchange failed: for the log."""


class Exchange:
    """See the module. Methods are grouped by who calls them."""

    __slots__ = (
        "_connection",
        "_downstream",
        "_early",
        "_over",
        "_own_fields",
        "_paused",
        "_replays",
        "_request_ended",
        "_target",
        "_trailers",
        "_tunnel",
        "_upstream",
        "request",
        "until_close",
    )

    def __init__(
        self, downstream: Downstream, request: RequestHead, upstream: Upstream, target: bytes, own_fields: bytes
    ) -> None:
        """``target`` is what the application sees, ``own_fields`` the lines that the appliance itself sets."""
        self._downstream = downstream
        self.request = request
        self._upstream = upstream
        self._target = target
        self._own_fields = own_fields
        self._connection: Carrier | None = None
        self._early: list[bytes] = []
        """Pieces of the body that came before the upstream was ready: one read's worth at the most."""
        self._request_ended = request.framing == NO_BODY
        self._trailers: Fields | None = None
        """What came with the body's end."""
        self._replays = 0
        self._paused = False
        self._over = False
        """Whether the answer is whole; of the request there may be more to come, which nobody wants."""
        self._tunnel: Tunnel | None = None
        """What the client's side has become."""
        self.until_close = False
        """Whether the response's body ends with the upstream's connection."""

    # --- from the client's side ---

    def start(self) -> None:
        """Ask for an upstream connection."""
        if not self._request_ended:
            self._downstream.pause_request()
        self._upstream.acquire(self, False)

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body, or of a tunnel."""
        if self._connection is not None:
            self._connection.send_body(data)
        elif not self._over:
            self._early.append(data)

    def body_ended(self, trailers: Fields | None = None) -> None:
        """The request is complete, or the client's half of a tunnel."""
        if self._request_ended and self._tunnel is None:  # it was said with the head that nothing follows
            return
        self._request_ended = True
        if self._connection is not None:
            self._connection.end_request(trailers)
        self._trailers = trailers

    def pause(self) -> None:
        """The client does not take more."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """The client takes more again."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    def client_lost(self) -> None:
        """The client is gone; so is the reason to go on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        else:
            self._upstream.forget(self)

    # --- from the pool ---

    @property
    def client(self) -> str:
        """The client's IP address; empty if it has none."""
        return self._downstream.client

    @property
    def ends(self) -> Connection | None:
        """Both ends of the client's connection; None if they have no addresses."""
        return self._downstream.ends

    @property
    def replayable(self) -> bool:
        """Whether the request may be sent a second time: idempotent, and none of its body gone already."""
        return self.request.framing == NO_BODY and self.request.method in IDEMPOTENT and not self.request.upgrade

    def upstream_ready(self, connection: Carrier) -> None:
        """An upstream connection is this exchange's, until it is told the end."""
        self._connection = connection
        early = b""
        if self._early:
            early = b"".join(self._early)
            self._early.clear()
        if self.request.framing != NO_BODY:  # even if all of it is here: what was held back is taken now
            self._downstream.resume_request()  # before anything is sent that could pause it
        if not self._request_ended and self.request.expects_continue and not early:
            self._downstream.send_continue()
        trailers = self._trailers
        whole = self._request_ended and not trailers
        connection.send(self, self.request, self._target, self._own_fields, early, whole)
        if trailers:
            connection.end_request(trailers)
        if self._paused:
            connection.pause()

    # --- from the upstream's side ---

    def upstream_unanswered(self, connection: Carrier, error: UpstreamError) -> None:
        """The connection ended before any byte of a response: closed while idle, or by an application that restarts."""
        self._connection = None
        if self.replayable and self._upstream.may_replay(connection, self.request.sent, self._replays):
            self._replays += 1
            self._upstream.acquire(self, True)
        else:
            self.upstream_failed(error)

    def upstream_refused(self, sent: bytes | None, error: UpstreamError) -> None:
        """The upstream says that it has not looked at the request (RFC 9113 section 8.7), so it is sent to another.

        ``sent`` is what went there of its body; None if that is gone.
        """
        self._connection = None
        if sent is None or self._replays >= _REFUSALS:
            self.upstream_failed(error)
            return
        self._replays += 1
        if sent:
            self._early.append(sent)
        if not self._request_ended:
            self._downstream.pause_request()
        self._upstream.acquire(self, True)

    def upstream_failed(self, error: UpstreamError) -> None:
        """The exchange cannot come to its end."""
        self._connection = None
        self.request.fault = error.phase
        self._upstream.report(self, error)
        (self._tunnel or self._downstream).fail(error.status, error.reset)

    def informational(self, response: ResponseHead) -> None:
        """A 1xx other than 100 and 101."""
        self._downstream.send_informational(response)

    def response_head(self, response: ResponseHead) -> None:
        """The response begins."""
        self.until_close = response.framing == UNTIL_CLOSE
        self._downstream.send_head(response)

    def response_body(self, data: bytes) -> None:
        """A piece, not empty."""
        self._downstream.send_body(data)

    def flush(self) -> None:
        """Nothing more has come so far."""
        self._downstream.flush()

    def response_end(self, data: bytes, trailers: Fields | None = None) -> None:
        """The last piece, may be empty; the connection is the pool's again."""
        self._connection = None
        self._over = True
        if trailers:
            if data:
                self._downstream.send_body(data)
            self._downstream.end(trailers)
        elif data:
            self._downstream.end_chunked_and_body(data)
        else:
            self._downstream.end()

    def pause_request(self) -> None:
        """The upstream does not take more."""
        (self._tunnel or self._downstream).pause_request()

    def resume_request(self) -> None:
        """The upstream takes more again."""
        (self._tunnel or self._downstream).resume_request()

    # --- tunnels (RFC 9110 section 7.8) ---

    def may_switch(self, response: ResponseHead) -> bool:
        """Whether a 101 is the answer to what was asked: the one protocol named, and no other."""
        asked = self.request.upgrade
        return bool(asked) and response.upgrade.lower() == asked.lower() and self._request_ended

    def switched(self, response: ResponseHead) -> None:
        """The upstream speaks the other protocol from here on."""
        self._tunnel = cast(Switching, self._downstream).switch(response)  # which asked for it: see may_switch
        self._tunnel.tunnel_opened()

    def tunnel_data(self, data: bytes) -> None:
        """Bytes from the upstream."""
        assert self._tunnel is not None
        self._tunnel.tunnel_data(data)

    def tunnel_ended(self) -> None:
        """The upstream will send no more."""
        assert self._tunnel is not None
        self._tunnel.tunnel_ended()

    def tunnel_lost(self) -> None:
        """The upstream's connection is gone."""
        assert self._tunnel is not None
        self._connection = None
        self._tunnel.tunnel_lost()
