"""The server's role in HTTP/2: clients open streams, each with a request's head."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from appliance.config import Limits
from appliance.errors import RequestError
from appliance.http.http2bounds import FRAME, RESET, Patience
from appliance.http.http2credit import CONNECTION_WINDOW, STREAM_WINDOW
from appliance.http.http2engine import Engine
from appliance.http.http2flow import FlowStream
from appliance.http.http2frames import (
    ENABLE_CONNECT_PROTOCOL,
    FRAME_SIZE_ERROR,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    MAX_STREAM,
    NO_ERROR,
    NO_RFC7540_PRIORITIES,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    Http2ConnectionError,
    Http2StreamError,
    goaway,
    long_in,
    rst_stream,
)
from appliance.http.http2headers import FIELD_OVERHEAD, HeadReader, read_trailers
from appliance.http.http2hpack import BlockReader
from appliance.http.http2priority import Priority, read_priority
from appliance.http.message import RequestHead

_BEGUN_AT_ONCE = 16

_AHEAD = 16
"""So many PRIORITY_UPDATE for streams to come are remembered."""

_HEADROOM = 64 * 1024
"""A header list that is too large is answered with 431, up to so many bytes more; then the connection ends."""


class ServerStream(FlowStream):
    """A stream that a client opened."""

    __slots__ = ("begun",)

    half_closes = False
    """Whether our end of the stream leaves the client's open, as a tunnel's does."""

    begun: bool
    """Whether its turn to begin has come."""

    def begin(self) -> None:
        """The read that brought the head is over."""

    def start(self) -> None:
        """What it brought of the body was handed over too."""

    def answered(self) -> None:
        """Its answer is whole, and the client still sends its request (section 8.1)."""

    def leave(self) -> None:
        """End it if it would not end by itself, with a word to the client."""

    def closed(self) -> None:
        """The engine knows the stream no more."""


S = TypeVar("S", bound=ServerStream)


class ServerEngine(Engine):
    """Frames of a client's connection. ``opened`` makes a stream of its id and head, or of why that is none.

    Streams begin when the whole read was looked at, a few in each turn of the reactor: one that is reset meanwhile has
    cost nothing, and many delay the other connections by moments only. ``more`` is called when some are left; it has
    `begin_some` called in the next turn.
    """

    __slots__ = (
        "_concurrent",
        "_last_served",
        "_more",
        "_opened",
        "_opening",
        "_prioritised",
        "_reader",
        "_tell_closed",
        "_waiting",
    )

    def __init__(
        self,
        patience: Patience,
        wake: Callable[[], None],
        full: Callable[[], None],
        limits: Limits,
        opened: Callable[[int, RequestHead | RequestError], ServerStream],
        closed: Callable[[], None],
        more: Callable[[], None],
    ) -> None:
        listed = limits.header_bytes + FIELD_OVERHEAD * limits.headers
        super().__init__(patience, wake, full, listed + _HEADROOM)
        self._opened = opened
        self._tell_closed = closed
        """Told when a stream was closed."""
        self._more = more
        self._concurrent = limits.concurrent_streams
        self._opening: deque[ServerStream] = deque()
        self._prioritised: dict[int, Priority] = {}
        """What was said of streams before they were opened (RFC 9218 section 7.1)."""
        self._waiting = False
        """Whether some wait for the next turn."""
        self._last_served: int | None = None
        """The last stream that is served, once there is to be one."""
        self._reader = BlockReader(HeadReader(limits).read, listed + _HEADROOM)
        self.greet(
            {
                MAX_CONCURRENT_STREAMS: self._concurrent,
                INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                MAX_HEADER_LIST_SIZE: listed,
                ENABLE_CONNECT_PROTOCOL: 1,
                NO_RFC7540_PRIORITIES: 1,
            },
            CONNECTION_WINDOW,
        )

    def announce_end(self) -> None:
        """Ask the client to open no more streams; those on their way here are still served (section 6.8)."""
        self.emit(goaway(MAX_STREAM, NO_ERROR))

    def refuse(self, code: int = NO_ERROR, reason: str = "") -> None:
        """Serve no streams but those that were opened before."""
        if self._last_served is None:
            self._last_served = self.last_stream
        self.emit(goaway(self._last_served, code, reason))

    def local_ended(self, stream: FlowStream) -> None:
        """See Engine."""
        super().local_ended(stream)
        assert isinstance(stream, ServerStream)
        if stream.id in self.streams and not stream.half_closes:
            stream.answered()

    def closed(self, stream: FlowStream) -> None:
        """See Engine."""
        assert isinstance(stream, ServerStream)
        stream.closed()
        self._tell_closed()

    def went_away(self, last_stream: int) -> None:
        """See Engine; `peer_left` tells."""

    def _block_received(self, stream_id: int, block: bytes, ended: bool) -> None:
        stream: ServerStream | None = self.streams.get(stream_id)
        if stream is not None:
            self._trailing_block(stream, block, ended)
        elif stream_id <= self.last_stream or not stream_id % 2:
            self._late_block(stream_id, block)
        else:
            self.last_stream = stream_id
            head = self._reader.read(block, ended)
            if self._last_served is None:
                self._open(stream_id, head, ended)
            else:
                self._latest_reset.append(stream_id)  # what follows is dropped without a word

    def _trailing_block(self, stream: ServerStream, block: bytes, ended: bool) -> None:
        fields = self._reader.decode(block)
        if stream.remote_closed:
            raise Http2StreamError(STREAM_CLOSED, "HEADERS after the end of the stream")
        if not ended:
            raise Http2StreamError(PROTOCOL_ERROR, "HEADERS within the content")
        self._trailers_received(stream, read_trailers(fields))

    def _late_block(self, stream_id: int, block: bytes) -> None:
        self._reader.decode(block)  # the tables must not fall apart
        if stream_id in self._latest_reset:
            self.patience.spend(FRAME, "HEADERS on reset streams")
        elif stream_id in self._latest_closed:
            raise Http2ConnectionError(STREAM_CLOSED, "HEADERS on a closed stream")
        else:
            raise Http2ConnectionError(PROTOCOL_ERROR, "a stream id that clients cannot open, or lower than the last")

    def _open(self, stream_id: int, head: RequestHead | RequestError | Http2StreamError, ended: bool) -> None:
        if isinstance(head, Http2StreamError):
            raise head.with_traceback(None)
        if len(self.streams) >= self._concurrent:
            self.patience.spend(RESET, "streams beyond SETTINGS_MAX_CONCURRENT_STREAMS")
            self._latest_reset.append(stream_id)
            self.emit(rst_stream(stream_id, REFUSED_STREAM))
            return
        stream = self._opened(stream_id, head)
        stream.send_window = self.sender.initial_window
        stream.receive_window = STREAM_WINDOW
        stream.remote_closed = ended
        stream.begun = False
        if isinstance(head, RequestHead) and head.priority is not None:
            stream.priority = head.priority
        if stream_id in self._prioritised:
            stream.priority = self._prioritised.pop(stream_id)
        self.streams[stream_id] = stream
        self._opening.append(stream)

    def _extension(self, kind: int, stream_id: int, payload: bytes) -> None:
        super()._extension(kind, stream_id, payload)
        if kind != PRIORITY_UPDATE:
            return
        if stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "PRIORITY_UPDATE on a stream")
        if len(payload) < 4:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "PRIORITY_UPDATE of a wrong length")
        about = long_in(payload) & MAX_STREAM
        if not about % 2:
            raise Http2ConnectionError(PROTOCOL_ERROR, "PRIORITY_UPDATE for a stream that is not the client's")
        priority = read_priority(payload[4:])
        stream: ServerStream | None = self.streams.get(about)
        if stream is not None:
            self.sender.prioritise(stream, priority)
        elif about > self.last_stream and len(self._prioritised) < _AHEAD:
            self._prioritised[about] = priority

    def _read_over(self) -> None:
        if self._opening and not self._waiting:
            self.begin_some()
        super()._read_over()

    def _deliver(self, stream: ServerStream) -> None:
        if stream.begun:
            super()._deliver(stream)

    def begin_some(self) -> None:
        """Begin the streams whose turn it is."""
        opening, streams = self._opening, self.streams
        left = _BEGUN_AT_ONCE
        while opening and left:
            stream = opening.popleft()
            if stream.id in streams:
                left -= 1
                self._begin(stream)
        self._waiting = bool(opening)
        if opening:
            self._more()

    def _begin(self, stream: ServerStream) -> None:
        stream.begun = True
        stream.begin()
        if stream.arrived is not None and stream.id in self.streams:
            self._deliver(stream)
        if stream.id in self.streams:
            stream.start()
