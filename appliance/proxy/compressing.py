"""Responses compressed on their way to clients: a target around another one.

What is under way stands between the client and the exchange that answers it, and is each one's other side: to the
exchange a `serving.Client`, to the client a `serving.Exchange`. So it can hold the exchange back while it compresses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from appliance.http.compression import Encoder, add_vary, change_head, coding_for, encoder_for, negotiable
from appliance.http.message import Fields, RequestHead, ResponseHead
from appliance.http.serving import Client, Exchange
from appliance.net.proxyprotocol import Connection
from appliance.proxy.routing import RouteEntry
from appliance.proxy.target import Target

STEP_BYTES = 64 * 1024
"""So much is compressed in one turn of the reactor: about a millisecond's work."""

Later = Callable[[Callable[[], None]], None]
"""Has something called after the others' turn."""


class Compressed:
    """See target.Target: what ``target`` answers, compressed where that helps and the client takes it."""

    __slots__ = ("_later", "target")

    def __init__(self, target: Target, later: Later) -> None:
        self.target = target
        self._later = later

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> Exchange | None:
        """See Target."""
        if request.upgrade:
            return self.target.begin(connection, request, route, origin)
        between = _Between(connection, request, self._later)
        exchange = self.target.begin(between, request, route, origin)
        if exchange is None:
            return None
        between.exchange = exchange
        return between


class _Between:
    """One request and its response, which may turn out not to be compressed."""

    __slots__ = (
        "_client",
        "_coding",
        "_encoder",
        "_ended",
        "_later",
        "_paused",
        "_queue",
        "_request",
        "_stream",
        "_trailers",
        "_waiting",
        "exchange",
    )

    exchange: Exchange

    def __init__(self, client: Client, request: RequestHead, later: Later) -> None:
        self._client = client
        self._request = request
        self._later = later
        self._coding = coding_for(request)
        """Before the request's own fields may be changed on its way to the application."""
        self._encoder: Encoder | None = None
        self._stream = False
        """Whether the length was not known, and each piece is to arrive when it is sent."""
        self._queue: deque[bytes] = deque()
        """What is still to be compressed: one piece of the exchange, which is held back meanwhile, and few more."""
        self._waiting = False
        """Whether the queue's next turn is arranged, or under way."""
        self._paused = False
        """Whether the client takes no more."""
        self._ended = False
        self._trailers: Fields | None = None

    # --- what does not change ---

    @property
    def client(self) -> str:
        """See Downstream."""
        return self._client.client

    @property
    def ends(self) -> Connection | None:
        """See Downstream."""
        return self._client.ends

    @property
    def memo(self) -> Any:
        """See Client."""
        return self._client.memo

    @memo.setter
    def memo(self, memo: Any) -> None:
        self._client.memo = memo

    @property
    def scheme(self) -> bytes:
        """See Client."""
        return self._client.scheme

    @property
    def port(self) -> int:
        """See Client."""
        return self._client.port

    @property
    def transport(self) -> Any:
        """See Client."""
        return self._client.transport

    def answer(self, page: tuple[ResponseHead, bytes]) -> None:
        """See Client. Pages are short."""
        self._client.answer(page)

    def send_continue(self) -> None:
        """See Downstream."""
        self._client.send_continue()

    def send_informational(self, response: ResponseHead) -> None:
        """See Downstream."""
        self._client.send_informational(response)

    def pause_request(self) -> None:
        """See Downstream."""
        self._client.pause_request()

    def resume_request(self) -> None:
        """See Downstream."""
        self._client.resume_request()

    # --- from the exchange ---

    def send_head(self, response: ResponseHead) -> None:
        """See Downstream: this decides."""
        if negotiable(self._request, response):
            add_vary(response)
            coding = self._coding
            if response.status == 304:
                change_head(response, coding)
            elif coding:
                self._stream = response.framing < 0
                if response.framing:
                    self._encoder = encoder_for(coding)
                change_head(response, coding)
        self._client.send_head(response)

    def flush(self) -> None:
        """See Downstream."""
        self._client.flush()

    def send_body(self, data: bytes) -> None:
        """See Downstream."""
        if self._encoder is None:
            self._client.send_body(data)
        elif self._queue or self._paused or len(data) > STEP_BYTES:
            self._queue.append(data)
            self._work_off()
        else:
            self._encode(self._encoder, data)

    def end_chunked_and_body(self, data: bytes) -> None:
        """See Downstream."""
        if self._encoder is None:
            self._client.end_chunked_and_body(data)
        else:
            self._ended = True
            self._queue.append(data)
            self._work_off()

    def end(self, trailers: Fields | None = None) -> None:
        """See Downstream."""
        if self._encoder is None:
            self._client.end(trailers)
        else:
            self._ended = True
            self._trailers = trailers
            self._work_off()

    def fail(self, status: int, reset: int | None = None, fields: Fields | tuple[()] = ()) -> None:
        """See Downstream. What was not compressed yet is lost with the rest."""
        self._give_up()
        self._client.fail(status, reset, fields)

    # --- compressing ---

    def _work_off(self) -> None:
        """Compress one step of what is queued, and arrange for the next."""
        encoder = self._encoder
        if encoder is None or self._waiting:
            return
        if self._queue and not self._paused:
            piece = self._queue.popleft()
            if len(piece) > STEP_BYTES:
                self._queue.appendleft(piece[STEP_BYTES:])
                piece = piece[:STEP_BYTES]
            if self._ended and not self._queue:
                self._finish(encoder, piece)
                return
            self._waiting = True  # a client that takes it at once says so in the midst of this
            self._encode(encoder, piece)
            self._waiting = False
            if self._encoder is None:  # or leaves
                return
        if self._queue:
            if not self._paused:
                self._waiting = True
                self._later(self._take_turn)
            if not self._ended:
                self.exchange.pause()
        elif self._ended:
            self._finish(encoder, b"")
        elif not self._paused:
            self.exchange.resume()

    def _take_turn(self) -> None:
        self._waiting = False
        self._work_off()

    def _encode(self, encoder: Encoder, data: bytes) -> None:
        out = encoder.encode(data)
        if self._stream:
            out += encoder.flush()
        if out:
            self._client.send_body(out)

    def _finish(self, encoder: Encoder, data: bytes) -> None:
        out = (encoder.encode(data) if data else b"") + encoder.finish()
        self._give_up()
        if self._trailers is None:
            self._client.end_chunked_and_body(out)
        else:
            self._client.send_body(out)
            self._client.end(self._trailers)

    def _give_up(self) -> None:
        self._encoder = None
        self._queue.clear()

    # --- from the client ---

    def start(self) -> None:
        """See Exchange."""
        self.exchange.start()

    def body_received(self, data: bytes) -> None:
        """See Exchange."""
        self.exchange.body_received(data)

    def body_ended(self, trailers: Fields | None = None) -> None:
        """See Exchange."""
        self.exchange.body_ended(trailers)

    def pause(self) -> None:
        """See Exchange."""
        self._paused = True
        if not self._ended:
            self.exchange.pause()

    def resume(self) -> None:
        """See Exchange: what is queued goes first."""
        self._paused = False
        if self._queue or self._ended:
            self._work_off()
        else:
            self.exchange.resume()

    def client_lost(self) -> None:
        """See Exchange."""
        ended = self._ended
        self._give_up()
        if not ended:
            self.exchange.client_lost()
