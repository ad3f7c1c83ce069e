"""The frames of one HTTP/2 connection (RFC 9113 sections 3 to 6): bytes in, calls and bytes out; no Twisted.

The engine knows frames, windows and which streams there are. What requests and responses are, it leaves to its role
(`http2server`: we are asked; the upstream's counterpart: we ask) and to the streams. Whatever the peer does wrong
ends as RST_STREAM or, by a Http2ConnectionError that leaves `Engine.receive`, as GOAWAY.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from appliance.http.http2blocks import Block
from appliance.http.http2bounds import FRAME, RESET, SERVED, SETTINGS_FRAME, Patience
from appliance.http.http2credit import STREAM_WINDOW, Credit
from appliance.http.http2flow import FlowStream, Sender
from appliance.http.http2frames import (
    ACK,
    CONTINUATION,
    END_STREAM,
    FRAME_BYTES,
    FRAME_SIZE_ERROR,
    HEAD_BYTES,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_STREAM,
    PADDED,
    PROTOCOL_ERROR,
    SETTINGS,
    SETTINGS_ACK,
    STREAM_CLOSED,
    Http2ConnectionError,
    Http2StreamError,
    headers,
    long_in,
    ping,
    read_head,
    read_settings,
    rst_stream,
    settings,
    without_padding,
)
from appliance.http.http2hpack import BlockWriter
from appliance.http.message import Fields

OUTPUT_BYTES: Final = 32 * 1024
"""So much output is not held back any longer for what else this turn of the reactor may bring."""

FRAMES_AT_ONCE: Final = 1000
"""Frames that are taken from one connection in a turn of the reactor. Small ones by the thousand delay nobody else."""

_REMEMBERED = 256


class Engine(ABC):
    """One connection's frames. Subclasses say what a field block is: `_block_received`.

    ``wake`` is called when there is something to send where there was nothing, ``full`` when there is a lot;
    `take_output` hands it over.
    """

    __slots__ = (
        "_block",
        "_credit",
        "_full",
        "_gathering",
        "_greeted",
        "_handlers",
        "_latest_closed",
        "_latest_reset",
        "_max_block",
        "_output",
        "_output_bytes",
        "_rest",
        "_wake",
        "_writer",
        "last_stream",
        "patience",
        "peer_left",
        "peer_settings",
        "ping_acknowledged",
        "sender",
        "settings_received",
        "streams",
    )

    stream_window = STREAM_WINDOW
    """What a peer may send on a stream before it is taken."""
    reset_points = RESET
    """What a peer pays for the reset of a stream."""

    def __init__(self, patience: Patience, wake: Callable[[], None], full: Callable[[], None], max_block: int) -> None:
        self.patience = patience
        self._wake = wake
        self._full = full
        self._max_block = max_block
        self._rest = b""
        self._greeted = False
        """Whether the peer's first frame, SETTINGS, has come."""
        self._output: list[bytes | memoryview] = []
        self._output_bytes = 0
        self._writer = BlockWriter()
        self.sender = Sender(self, patience, self.local_ended)
        self._credit = Credit(self, self.stream_window)
        self.streams: dict[int, Any] = {}
        """Those that are not closed, by id: subclasses of FlowStream."""
        self.last_stream = 0
        """The highest id that was begun."""
        self.peer_left = False
        """Whether the peer sent GOAWAY."""
        self.peer_settings: dict[int, int] = {}
        self.settings_received: Callable[[], None] = lambda: None
        """Told when `peer_settings` may have changed."""
        self.ping_acknowledged: Callable[[bytes], None] = lambda payload: None
        self._latest_closed: deque[int] = deque(maxlen=_REMEMBERED)
        self._latest_reset: deque[int] = deque(maxlen=_REMEMBERED)
        self._gathering: list[Any] = []
        """Streams that DATA came for in the read under way."""
        self._block: Block | None = None
        """The field block under way."""
        self._handlers = (
            self._data,
            self._headers,
            self._priority,
            self._rst_stream,
            self._settings,
            self._push_promise,
            self._ping,
            self._goaway,
            self._window_update,
            self._stray_continuation,
        )

    # --- output ---

    def emit(self, *pieces: bytes | memoryview) -> None:
        """See http2flow.Output."""
        output = self._output
        if not output:
            self._wake()
        output += pieces
        self._output_bytes += len(pieces[-1])
        if self._output_bytes >= OUTPUT_BYTES:
            self._full()

    def take_output(self) -> bytes:
        """All that is to be sent, once."""
        output = b"".join(self._output)
        self._output.clear()
        self._output_bytes = 0
        return output

    def greet(self, values: dict[int, int], window: int) -> None:
        """Send our SETTINGS, and widen the connection's window."""
        self.emit(settings(values))
        self._credit.widen(window)

    def send_headers(self, stream: FlowStream, fields: Fields, end: bool) -> None:
        """Send a field section: a head, or trailers (``end``), these only when nothing is pending."""
        self.emit(headers(stream.id, self._writer.write(fields), end))
        if end:
            self.local_ended(stream)

    def send_answer(self, stream: FlowStream, fields: Fields, data: bytes) -> None:
        """Send a head, all of the body and the end at once."""
        self.emit(headers(stream.id, self._writer.write(fields), False))
        self.sender.send(stream, data, True)

    def local_ended(self, stream: FlowStream) -> None:
        """Our END_STREAM is out."""
        stream.local_closed = True
        if stream.remote_closed:
            self.patience.earn(SERVED)
            self.forget(stream)

    def reset(self, stream: FlowStream, code: int) -> None:
        """Send RST_STREAM; the stream is gone, and what the peer still sends on it is dropped."""
        if self.streams.get(stream.id) is stream:
            self.forget(stream)
            self._latest_reset.append(stream.id)
            self.emit(rst_stream(stream.id, code))

    def forget(self, stream: FlowStream) -> None:
        """The stream is closed."""
        del self.streams[stream.id]
        self._latest_closed.append(stream.id)
        self.sender.forget(stream)
        if stream.arrived:
            stream.untaken += sum(map(len, stream.arrived))
        stream.arrived = None
        if stream.untaken:
            self._credit.returned(stream.untaken)
        self.closed(stream)

    @abstractmethod
    def closed(self, stream: FlowStream) -> None:
        """A stream has left `streams`."""

    def taken(self, stream: FlowStream, size: int) -> None:
        """DATA of so many bytes was dealt with; the peer may send as many more."""
        self._credit.taken(stream, size)

    # --- input ---

    def receive(self, data: bytes) -> bool:
        """Take what came from the peer, `FRAMES_AT_ONCE` at the most: whether some are left, for a call without data.

        Raises Http2ConnectionError.
        """
        if self._rest:
            data = self._rest + data
        position = 0
        size = len(data)
        left = FRAMES_AT_ONCE
        while size - position >= HEAD_BYTES and left:
            left -= 1
            high, length, kind, flags, stream_id = read_head(data, position)
            if high or length > FRAME_BYTES:
                raise Http2ConnectionError(FRAME_SIZE_ERROR, "a frame larger than SETTINGS_MAX_FRAME_SIZE")
            start = position + HEAD_BYTES
            position = start + length
            if position > size:
                position = start - HEAD_BYTES
                break
            self._take_frame(kind, flags, stream_id & MAX_STREAM, data[start:position])
        self._rest = data[position:] if position < size else b""
        self._read_over()
        return not left

    def _take_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None:
            self._continuation(self._block, kind, flags, stream_id, payload)
            return
        if not self._greeted:
            if kind != SETTINGS or flags & ACK:
                raise Http2ConnectionError(PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._greeted = True
        if kind > CONTINUATION:
            self._extension(kind, stream_id, payload)
            return
        try:
            self._handlers[kind](flags, stream_id, payload)
        except Http2StreamError as fault:
            self._stream_fault(stream_id, fault)

    def _extension(self, kind: int, stream_id: int, payload: bytes) -> None:
        """A frame of a type that RFC 9113 does not know."""
        self.patience.spend(FRAME, "frames of unknown types")

    def _stream_fault(self, stream_id: int, fault: Http2StreamError) -> None:
        """Reset a stream for what the peer did on it."""
        self.patience.spend(RESET, f"streams reset because of {fault}")
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.is_idle(stream_id):  # there is nothing to reset
                raise Http2ConnectionError(fault.code, str(fault))
            self._latest_reset.append(stream_id)
            self.emit(rst_stream(stream_id, fault.code))
            return
        self.reset(stream, fault.code)
        stream.was_broken(fault)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._credit.arrived(size)
        data = without_padding(payload) if flags & PADDED else payload
        stream = self.streams.get(stream_id)
        if stream is None or stream.remote_closed:
            self._credit.returned(size)
            self._late_data(stream_id, stream)
            return
        self._credit.arrived_on(stream, size)
        if size != len(data):
            self.taken(stream, size - len(data))
        if stream.arrived is None:
            stream.arrived = []
            self._gathering.append(stream)
        if data:
            stream.arrived.append(data)
        elif not flags & END_STREAM:
            self.patience.spend(FRAME, "empty DATA")
        if flags & END_STREAM:
            self._remote_end(stream)

    def _late_data(self, stream_id: int, stream: FlowStream | None) -> None:
        """DATA on a stream that takes none."""
        if stream is None:
            self._refuse_idle(stream_id)
            if stream_id in self._latest_reset:
                return
        raise Http2StreamError(STREAM_CLOSED, "DATA on a closed stream")

    def _refuse_idle(self, stream_id: int) -> None:
        if not stream_id or self.is_idle(stream_id):
            raise Http2ConnectionError(PROTOCOL_ERROR, "a frame on a stream that was never opened")

    def is_idle(self, stream_id: int) -> bool:
        """Whether the stream was never begun, by either side."""
        return stream_id > self.last_stream or not stream_id % 2

    def _remote_end(self, stream: Any) -> None:
        stream.remote_closed = True
        if stream.arrived is None:
            stream.arrived = []
            self._gathering.append(stream)

    def _read_over(self) -> None:
        """Hand out the DATA of this read, in one piece for each stream."""
        if not self._gathering:
            return
        gathering, self._gathering = self._gathering, []
        for stream in gathering:
            self._deliver(stream)

    def _deliver(self, stream: Any) -> None:
        """Hand out what arrived for one stream."""
        pieces, stream.arrived = stream.arrived, None
        if pieces is None:  # it was reset
            return
        if pieces:
            stream.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if stream.remote_closed and stream.id in self.streams:
            stream.remote_ended(stream.trailers)
            if stream.local_closed and stream.id in self.streams:
                self.patience.earn(SERVED)
                self.forget(stream)

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._block = Block(flags, stream_id, payload)
        if self._block.complete:
            self._block_over(self._block)

    def _continuation(self, block: Block, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        block.add(kind, flags, stream_id, payload, self._max_block)
        if block.complete:
            try:
                self._block_over(block)
            except Http2StreamError as fault:
                self._stream_fault(stream_id, fault)

    def _block_over(self, block: Block) -> None:
        self._block = None
        self._block_received(block.stream_id, block.content, block.ends_stream)
        if block.depends_on_itself:
            raise Http2StreamError(PROTOCOL_ERROR, "a stream that depends on itself")

    @abstractmethod
    def _block_received(self, stream_id: int, block: bytes, ended: bool) -> None:
        """A whole field block came."""

    def _trailers_received(self, stream: Any, fields: Fields) -> None:
        """For subclasses: a stream's second field section came, with END_STREAM."""
        stream.trailers = fields
        self._remote_end(stream)

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.patience.spend(FRAME, "PRIORITY")
        if not stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise Http2StreamError(FRAME_SIZE_ERROR, "PRIORITY of a wrong length")
        if long_in(payload) & MAX_STREAM == stream_id:
            raise Http2StreamError(PROTOCOL_ERROR, "a stream that depends on itself")

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "RST_STREAM of a wrong length")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._refuse_idle(stream_id)
            self.patience.spend(FRAME, "RST_STREAM")
            return
        self.patience.spend(self.reset_points, "RST_STREAM")
        self.forget(stream)
        stream.was_reset(long_in(payload))

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.patience.spend(SETTINGS_FRAME, "SETTINGS")
        if stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise Http2ConnectionError(FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS that is not empty")
            return
        values = read_settings(payload)
        self.patience.spend(len(values), "SETTINGS")
        for name, value in values:
            self.peer_settings[name] = value
            if name == INITIAL_WINDOW_SIZE:
                self.sender.resize(value, list(self.streams.values()))
            elif name == HEADER_TABLE_SIZE:
                self._writer.resize(value)
        self.emit(SETTINGS_ACK)
        self.settings_received()

    def _push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise Http2ConnectionError(PROTOCOL_ERROR, "PUSH_PROMISE")

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.patience.spend(FRAME, "PING")
        if stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "PING of a wrong length")
        if flags & ACK:
            self.ping_acknowledged(payload)
        else:
            self.emit(ping(payload, acknowledges=True))

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.patience.spend(FRAME, "GOAWAY")
        if stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "GOAWAY of a wrong length")
        self.peer_left = True
        self.went_away(long_in(payload) & MAX_STREAM)

    @abstractmethod
    def went_away(self, last_stream: int) -> None:
        """The peer will begin no streams, and has dealt with none of ours above this one."""

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.patience.spend(FRAME, "WINDOW_UPDATE")
        if len(payload) != 4:
            raise Http2ConnectionError(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length")
        increment = long_in(payload) & MAX_STREAM
        if not stream_id:
            if not increment:
                raise Http2ConnectionError(PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self.sender.widen(increment)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            self._refuse_idle(stream_id)
            return
        if not increment:
            raise Http2StreamError(PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        self.sender.widen_stream(stream, increment)

    def _stray_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise Http2ConnectionError(PROTOCOL_ERROR, "CONTINUATION without HEADERS")
