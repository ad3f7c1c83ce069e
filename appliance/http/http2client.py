"""The client's role in HTTP/2: we open streams, each with a request's head, and the peer answers on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from appliance.http.http2bounds import FRAME, Patience
from appliance.http.http2engine import Engine
from appliance.http.http2flow import FlowStream
from appliance.http.http2frames import (
    ENABLE_PUSH,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    MAX_STREAM,
    NO_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    Http2ConnectionError,
    Http2StreamError,
    goaway,
)
from appliance.http.http2headers import malformed, read_trailers
from appliance.http.http2hpack import BlockReader
from appliance.http.http2messages import LIST_BYTES, frame_response, read_response
from appliance.http.message import Fields, ResponseHead

STREAMS = 100
"""The most that are open at once on one connection, whatever the peer allows."""

ANSWER_WINDOW = 64 * 1024
"""What of an answer may wait for its client: a read's worth, as over HTTP/1.1. Clients may have many that wait."""

_HEADROOM = 64 * 1024
"""A header that is too large costs its stream, up to so many bytes more; then the connection."""
_INFORMATIONAL_RESPONSES = 16


class ClientStream(FlowStream):
    """A stream that we opened."""

    __slots__ = ("answered", "informational", "method")

    def __init__(self, method: bytes) -> None:
        super().__init__(0)
        self.method = method
        self.answered = False
        """Whether the response's head has come."""
        self.informational = 0
        """How many 1xx have."""

    def response_received(self, response: ResponseHead) -> None:
        """The head, or that of a 1xx."""

    def nothing_more(self) -> None:
        """The read that brought the head is over, and what it brought of the body was told."""

    def was_refused(self) -> None:
        """The peer has gone away without having looked at the stream."""

    def closed(self) -> None:
        """The engine knows the stream no more."""


S = TypeVar("S", bound=ClientStream)


class ClientEngine(Engine):
    """Frames of a connection to an upstream.

    ``ready`` is called when SETTINGS came, ``leaving`` when the peer wants no more streams.
    """

    __slots__ = ("_headed", "_leaving", "_reader")

    stream_window = ANSWER_WINDOW
    reset_points = FRAME  # they are our streams: a peer that resets them saves itself work, not us

    def __init__(
        self,
        patience: Patience,
        wake: Callable[[], None],
        full: Callable[[], None],
        ready: Callable[[], None],
        leaving: Callable[[], None],
    ) -> None:
        most = LIST_BYTES + _HEADROOM
        super().__init__(patience, wake, full, most)
        self.settings_received = ready
        self._leaving = leaving
        self._headed: list[ClientStream] = []
        self._reader = BlockReader(read_response, most)
        self.last_stream = -1
        window = STREAMS * ANSWER_WINDOW  # never the one that holds a stream up because others are slow
        self.greet({ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: ANSWER_WINDOW, MAX_HEADER_LIST_SIZE: LIST_BYTES}, window)

    @property
    def room(self) -> int:
        """How many streams may be opened now."""
        if self.last_stream >= MAX_STREAM - 1:
            return 0
        return min(self.peer_settings.get(MAX_CONCURRENT_STREAMS, STREAMS), STREAMS) - len(self.streams)

    def open(self, stream: ClientStream, fields: Fields, ended: bool) -> None:
        """Begin a stream; ``fields`` are all there is if ``ended``."""
        stream.id = self.last_stream = self.last_stream + 2
        stream.send_window = self.sender.initial_window
        stream.receive_window = ANSWER_WINDOW
        self.streams[stream.id] = stream
        self.send_headers(stream, fields, ended)

    def leave(self, code: int = NO_ERROR, reason: str = "") -> None:
        """Tell the peer that this is the end."""
        self.emit(goaway(0, code, reason))

    def closed(self, stream: FlowStream) -> None:
        """See Engine."""
        assert isinstance(stream, ClientStream)
        stream.closed()

    def went_away(self, last_stream: int) -> None:
        """See Engine: what the peer has not looked at may be sent to another (section 6.8)."""
        self._leaving()
        for stream in [stream for number, stream in self.streams.items() if number > last_stream]:
            self.forget(stream)
            stream.was_refused()

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.answered:
            self._credit.arrived(len(payload))
            self._credit.returned(len(payload))
            raise malformed("DATA before the response's head")
        super()._data(flags, stream_id, payload)

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:  # what came before counts: an answer that is whole may be followed by NO_ERROR
            self._deliver(stream)
        super()._rst_stream(flags, stream_id, payload)

    def _block_received(self, stream_id: int, block: bytes, ended: bool) -> None:
        stream: ClientStream | None = self.streams.get(stream_id)
        if stream is None:
            self._late_block(stream_id, block)
        elif stream.answered:
            fields = self._reader.decode(block)
            if stream.remote_closed:
                raise Http2StreamError(STREAM_CLOSED, "HEADERS after the end of the stream")
            if not ended:
                raise malformed("HEADERS within the content")
            self._trailers_received(stream, read_trailers(fields))
        else:
            read: Any = self._reader.read(block, ended)
            if isinstance(read, Http2StreamError):
                raise read.with_traceback(None)
            self._answered(stream, frame_response(read, stream.method, ended), ended)

    def _late_block(self, stream_id: int, block: bytes) -> None:
        self._reader.decode(block)  # the tables must not fall apart
        if self.is_idle(stream_id):
            raise Http2ConnectionError(PROTOCOL_ERROR, "a response to nothing")
        if stream_id not in self._latest_reset:
            raise Http2StreamError(STREAM_CLOSED, "HEADERS on a closed stream")
        self.patience.spend(FRAME, "HEADERS on reset streams")

    def _answered(self, stream: ClientStream, response: ResponseHead, ended: bool) -> None:
        if response.status < 200:
            stream.informational += 1
            if stream.informational > _INFORMATIONAL_RESPONSES:
                raise malformed(f"more than {_INFORMATIONAL_RESPONSES} 1xx responses")
        else:
            stream.answered = True
            self._headed.append(stream)
        stream.response_received(response)
        if ended and stream.id in self.streams:
            self._remote_end(stream)

    def _read_over(self) -> None:
        super()._read_over()
        if self._headed:
            headed, self._headed = self._headed, []
            for stream in headed:
                if stream.id in self.streams:
                    stream.nothing_more()
