"""One exchange over HTTP/2 to an upstream: the stream that carries it, with the face of an upstream's connection."""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING, Any

from appliance.errors import UpstreamError
from appliance.http.http2client import ClientStream
from appliance.http.http2frames import (
    CANCEL,
    CODE_NAMES,
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Http2StreamError,
)
from appliance.http.http2messages import request_fields
from appliance.http.message import Fields, RequestHead, ResponseHead
from appliance.net.deadlines import NEVER

if TYPE_CHECKING:
    from appliance.proxy.http2link import Link

_KEPT_BYTES = 64 * 1024
"""So much of a request's body is kept until the answer begins, in case the upstream refuses to look at it."""

_PASSED_ON = frozenset({CANCEL, ENHANCE_YOUR_CALM})
"""What an upstream resets a stream with and its client is told too; anything else is an internal error to it."""

_RPC = re.compile(rb"application/grpc(?:[+; ]|\Z)")


class Call(ClientStream):
    """See exchange.Carrier. It is in the sweep of deadlines from the request to the answer's end.

    A request of gRPC may go on for ever, silent or not, both ways: it has deadlines of its own, and whether both ends
    are still there is found out on their connections. The idle limit of tunnels, if there is one, is its too.
    """

    __slots__ = (
        "_exchange",
        "_expecting",
        "_held",
        "_kept",
        "_kept_bytes",
        "_link",
        "_open_ended",
        "_request_ended",
        "_unsent",
        "deadline",
        "exchanges",
    )

    def __init__(self, link: Link) -> None:
        super().__init__(b"")
        self._link = link
        self._exchange: Any = None
        self._expecting: float = inf
        """How much of the response's content is still to come."""
        self._held = False
        """Whether the exchange takes no more of the response for now."""
        self._kept: list[bytes] | None = []
        """What was sent of the body; None if it was too much, or the answer has begun."""
        self._kept_bytes = 0
        self._open_ended = False
        self._request_ended = False
        self._unsent = 0
        self.deadline = NEVER
        self.exchanges = 0

    @property
    def answers(self) -> int:
        """See Carrier."""
        return self.exchanges if self.answered else 0

    # --- from the exchange ---

    def send(
        self, exchange: Any, request: RequestHead, target: bytes, own_fields: bytes, body: bytes, ended: bool
    ) -> None:
        """See Carrier."""
        link = self._link
        self._exchange = exchange
        self.method = request.method
        request.sent = link.deadlines.seconds()
        request.upstream = link.address
        self.exchanges = link.opened()
        self._open_ended = request.open_ended = _RPC.match(request.first(b"content-type")) is not None
        fields = request_fields(request, target, link.scheme, own_fields)
        link.deadlines.add(self)
        self._request_ended = ended
        link.engine.open(self, fields, ended and not body)
        if body:
            self._keep(body)
            link.engine.sender.send(self, body, ended)
            self._wait_if_pending()
        self._renew_deadline()

    def send_body(self, data: bytes) -> None:
        """See Carrier."""
        self._keep(data)
        self._link.engine.sender.send(self, data, False)
        self._wait_if_pending()
        if self._open_ended:
            self._renew_deadline()

    def end_request(self, trailers: Fields | None = None) -> None:
        """See Carrier."""
        self._request_ended = True
        if trailers:
            self._link.engine.sender.finish(self, trailers)
        else:
            self._link.engine.sender.send(self, b"", True)
        self._renew_deadline()

    def pause(self) -> None:
        """See Carrier: what comes is not offered to the upstream again."""
        self._held = True
        self._renew_deadline()

    def resume(self) -> None:
        """See Carrier."""
        self._held = False
        untaken, self.untaken = self.untaken, 0
        if untaken:
            self._link.engine.taken(self, untaken)
        self._renew_deadline()

    def abandon(self) -> None:
        """See Carrier: the upstream need not go on."""
        self._exchange = None
        self._link.engine.reset(self, CANCEL)
        self._link.cancelled()

    def close(self) -> None:
        """See Carrier: it was not used."""

    def _keep(self, data: bytes) -> None:
        if self._kept is not None:
            self._kept_bytes += len(data)
            if self._kept_bytes <= _KEPT_BYTES:
                self._kept.append(data)
            else:
                self._kept = None

    def _wait_if_pending(self) -> None:
        """The upstream does not take what there is: no more of it is made."""
        if self.pending and self._exchange is not None:
            self._unsent = self.pending_bytes
            self._renew_deadline()
            self._exchange.pause_request()

    # --- from the engine ---

    def drained(self) -> None:
        """See FlowStream."""
        self._renew_deadline()
        if self._exchange is not None:
            self._exchange.resume_request()

    def response_received(self, response: ResponseHead) -> None:
        """See ClientStream."""
        if response.status < 200:
            if response.status != 100:  # that one is the appliance's own to say
                self._exchange.informational(response)
            return
        self._kept = None
        self._expecting = inf if response.framing < 0 else response.framing
        self._renew_deadline()
        self._exchange.response_head(response)

    def nothing_more(self) -> None:
        """See ClientStream."""
        if self._exchange is not None:
            self._exchange.flush()

    def data_received(self, data: bytes) -> None:
        """See FlowStream."""
        self._expecting -= len(data)
        if self._expecting < 0:
            self.untaken += len(data)
            self._link.engine.reset(self, PROTOCOL_ERROR)
            self._fail("it sent more of the response than it had announced")
            return
        if self._held:
            self.untaken += len(data)
        else:
            self._link.engine.taken(self, len(data))
        self._renew_deadline()
        self._exchange.response_body(data)

    def remote_ended(self, trailers: Fields) -> None:
        """See FlowStream."""
        if 0 < self._expecting < inf:
            self._link.engine.reset(self, PROTOCOL_ERROR)
            self._fail("it sent less of the response than it had announced")
            return
        exchange, self._exchange = self._exchange, None
        if not self.local_closed:  # nobody reads the rest of the request
            self._link.engine.reset(self, NO_ERROR)
        exchange.response_end(b"", trailers)

    def closed(self) -> None:
        """See ClientStream."""
        self._link.deadlines.discard(self)
        self._link.ended(self)

    # --- endings ---

    def was_reset(self, code: int) -> None:
        """See FlowStream."""
        if code == REFUSED_STREAM and not self.answered:
            self._link.retire()  # it allowed as many
            self.was_refused()
            return
        name = CODE_NAMES.get(code, str(code))
        self._fail(f"it reset the stream ({name})", reset=code if code in _PASSED_ON else None)

    def was_broken(self, fault: Http2StreamError) -> None:
        """See FlowStream."""
        self._fail(f"it broke the rules of HTTP/2: {fault}")

    def was_refused(self) -> None:
        """See ClientStream."""
        exchange, self._exchange = self._exchange, None
        kept = None if self._kept is None else b"".join(self._kept)
        if exchange is not None:
            exchange.upstream_refused(kept, UpstreamError("head", "it refused the stream", 503, REFUSED_STREAM))

    def was_lost(self, how: str) -> None:
        """The connection is gone, and with it the stream."""
        if self.answered:
            self._fail(f"the connection was {how} before the response's end")
            return
        exchange, self._exchange = self._exchange, None
        error = UpstreamError("head", f"the connection was {how} before any response")
        if self.exchanges == 1:  # one that was idle may have been closed for that
            self._link.blame(error)
        if exchange is not None:
            exchange.upstream_unanswered(self, error)

    def _fail(self, reason: str, status: int = 502, reset: int | None = None, phase: str = "") -> None:
        exchange, self._exchange = self._exchange, None
        error = UpstreamError(phase or ("body" if self.answered else "head"), reason, status, reset)
        if error.phase != "body":
            self._link.blame(error)
        if exchange is not None:
            exchange.upstream_failed(error)

    # --- time ---

    def expire(self, now: float) -> None:
        """The deadline has passed; see Deadlines."""
        if self.pending and self.pending_bytes != self._unsent and not self._open_ended:  # slow, but moving
            self._unsent = self.pending_bytes
            self.deadline = now + self._link.timeouts.body
            return
        self._link.engine.reset(self, CANCEL)
        timeouts = self._link.timeouts
        if self._open_ended:
            self._fail("nothing moved for as long as websocket_idle allows", 504)
        elif self.pending:
            self._fail(f"it took nothing of the request for {timeouts.body:g} s", 504, phase="send")
        elif self.answered:
            self._fail(f"it sent nothing of the response for {timeouts.body:g} s", 504)
        else:
            self._fail(f"it did not answer within {timeouts.first_byte:g} s", 504)

    def _renew_deadline(self) -> None:
        """Allow the upstream its time for whatever is its turn to do; NEVER while the turn is the client's."""
        timeouts = self._link.timeouts
        allowed: float | None
        if self._open_ended:
            allowed = timeouts.websocket_idle
        elif self.pending:
            allowed = timeouts.body
        elif self._held:
            allowed = None
        elif self.answered:
            allowed = timeouts.body
        else:
            allowed = timeouts.first_byte if self._request_ended else None
        self.deadline = NEVER if allowed is None else self._link.deadlines.seconds() + allowed
