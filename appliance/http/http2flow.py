"""Flow control (RFC 9113 section 5.2) and whose turn it is to send: DATA goes out within the windows, the most urgent
first (RFC 9218), and among those a frame of each stream that waits, round and round, so that a large answer delays no
other by more than one frame; unless its client wants them one after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from appliance.http.http2bounds import TAKEN, TAKEN_BYTES, Patience
from appliance.http.http2frames import (
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_BYTES,
    MAX_WINDOW,
    WINDOW_BYTES,
    Http2ConnectionError,
    Http2StreamError,
    data_head,
)
from appliance.http.http2priority import UNSAID, Priority
from appliance.http.message import Fields

_CRUMB = 1024
"""A DATA frame that the windows keep below this brings its client no credit (see `http2bounds`)."""


class FlowStream:
    """One stream as far as frames are concerned; what they mean is its subclass's."""

    __slots__ = (
        "arrived",
        "consumed",
        "id",
        "local_closed",
        "pending",
        "pending_bytes",
        "pending_end",
        "priority",
        "queued",
        "receive_window",
        "remote_closed",
        "send_window",
        "trailers",
        "trailing",
        "untaken",
    )

    def __init__(self, stream_id: int) -> None:
        self.id = stream_id
        self.send_window = 0
        """How much the peer takes; below 0 after it took back what it had offered."""
        self.receive_window = 0
        """How much the peer may still send."""
        self.consumed = 0
        """How much was taken from it and not yet offered to the peer again."""
        self.untaken = 0
        """How much was received and waits for its receiver."""
        self.arrived: list[bytes] | None = None
        """Pieces of DATA found in the read under way."""
        self.pending: deque[memoryview] = deque()
        """What could not be sent yet."""
        self.pending_bytes = 0
        self.pending_end = False
        """Whether the stream ends after that."""
        self.trailing: Fields | None = None
        """What is to be sent between that and the end."""
        self.queued = False
        """Whether it waits for its turn."""
        self.priority = UNSAID
        """Changed by `Sender.prioritise` alone."""
        self.trailers: Fields = []
        """What came after the peer's DATA."""
        self.local_closed = False
        self.remote_closed = False

    def data_received(self, data: bytes) -> None:
        """A piece of the peer's DATA, not empty."""

    def remote_ended(self, trailers: Fields) -> None:
        """The peer will send no more; ``trailers`` is empty if it ended with DATA."""

    def was_reset(self, code: int) -> None:
        """The peer has ended the stream."""

    def was_broken(self, fault: Http2StreamError) -> None:
        """The engine has ended it, because of what the peer did."""
        self.was_reset(fault.code)

    def drained(self) -> None:
        """All that was pending is sent."""


class Output(Protocol):
    """Where frames go: the engine."""

    def emit(self, *pieces: bytes | memoryview) -> None:
        """Queue for the peer; may call `Sender.hold`."""

    def send_headers(self, stream: FlowStream, fields: Fields, end: bool) -> None:
        """Send a field section."""


class Sender:
    """All DATA of one connection on its way out."""

    __slots__ = ("_ended", "_held", "_output", "_patience", "_ready", "initial_window", "window")

    def __init__(self, output: Output, patience: Patience, ended: Callable[[FlowStream], None]) -> None:
        self._output = output
        self._patience = patience
        self._ended = ended
        """Told of streams whose END_STREAM is out."""
        self._ready: dict[int, deque[FlowStream]] = {}
        """Streams with something pending and room in their own windows, by urgency."""
        self._held = False
        self.window = WINDOW_BYTES
        """How much the peer takes on all streams together."""
        self.initial_window = WINDOW_BYTES

    def send(self, stream: FlowStream, data: bytes, end: bool) -> None:
        """Send DATA now, or keep it pending; ``stream.pending`` tells which."""
        size = len(data)
        if not stream.pending and (
            not size  # counts against no window
            or (size <= FRAME_BYTES and size <= stream.send_window and size <= self.window and not self._held)
        ):
            self.window -= size
            stream.send_window -= size
            self._output.emit(data_head(stream.id, size, END_STREAM if end else 0), data)
            self._patience.earn(TAKEN + size // TAKEN_BYTES)
            if end:
                self._ended(stream)
            return
        if size:
            stream.pending.append(memoryview(data))
            stream.pending_bytes += size
        stream.pending_end = end
        self._queue(stream)
        self._pump()

    def finish(self, stream: FlowStream, trailers: Fields) -> None:
        """Send trailers (not empty), and with them the end, when all that is pending was sent."""
        if stream.pending:
            stream.pending_end = True
            stream.trailing = trailers
        else:
            self._output.send_headers(stream, trailers, True)

    def hold(self) -> None:
        """The connection takes no more."""
        self._held = True

    def release(self) -> None:
        """It takes more again."""
        self._held = False
        self._pump()

    def widen(self, increment: int) -> None:
        """WINDOW_UPDATE of the connection."""
        self.window += increment
        if self.window > MAX_WINDOW:
            raise Http2ConnectionError(FLOW_CONTROL_ERROR, "the connection's window is too large")
        self._pump()

    def widen_stream(self, stream: FlowStream, increment: int) -> None:
        """WINDOW_UPDATE of a stream."""
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            raise Http2StreamError(FLOW_CONTROL_ERROR, "the stream's window is too large")
        self._queue(stream)
        self._pump()

    def resize(self, initial_window: int, streams: Iterable[FlowStream]) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE, which changes the windows of open streams too (section 6.9.2)."""
        change = initial_window - self.initial_window
        self.initial_window = initial_window
        for stream in streams:
            stream.send_window += change
            if stream.send_window > MAX_WINDOW:
                raise Http2ConnectionError(FLOW_CONTROL_ERROR, "SETTINGS make a stream's window too large")
            self._queue(stream)
        self._pump()

    def forget(self, stream: FlowStream) -> None:
        """The stream is over; nothing of it is sent any more."""
        stream.pending.clear()
        stream.pending_bytes = 0
        self._unqueue(stream)

    def prioritise(self, stream: FlowStream, priority: Priority) -> None:
        """The client says, or says anew, how urgent the stream is."""
        self._unqueue(stream)
        stream.priority = priority
        self._queue(stream)

    def _queue(self, stream: FlowStream, again: bool = False) -> None:
        """Have it wait for its turn; ``again``: it has just had it."""
        if stream.pending and not stream.queued and stream.send_window > 0:
            stream.queued = True
            urgency, incremental = stream.priority
            row = self._ready.get(urgency)
            if row is None:
                row = self._ready[urgency] = deque()
            if not incremental and (again or (row and row[0].id > stream.id)):
                row.appendleft(stream)  # one after the other, in the order of the requests
            else:
                row.append(stream)

    def _unqueue(self, stream: FlowStream) -> None:
        if stream.queued:
            stream.queued = False
            urgency = stream.priority.urgency
            row = self._ready[urgency]
            row.remove(stream)
            if not row:
                del self._ready[urgency]

    def _pump(self) -> None:
        ready = self._ready
        while ready and not self._held and self.window > 0:
            urgency = min(ready)
            row = ready[urgency]
            stream = row.popleft()
            if not row:
                del ready[urgency]
            stream.queued = False
            if stream.send_window > 0:
                self._send_frame(stream)

    def _send_frame(self, stream: FlowStream) -> None:
        """One frame of what is pending; the stream queues again if there is more."""
        piece = stream.pending[0]
        room = min(FRAME_BYTES, stream.send_window, self.window)
        if len(piece) > room:
            stream.pending[0] = piece[room:]
            piece = piece[:room]
        else:
            stream.pending.popleft()
        size = len(piece)
        stream.send_window -= size
        self.window -= size
        stream.pending_bytes -= size
        more = bool(stream.pending)
        end = stream.pending_end and not more
        trailing = stream.trailing if end else None
        if size >= _CRUMB or not more:
            self._patience.earn(TAKEN + size // TAKEN_BYTES)
        self._queue(stream, again=True)
        self._output.emit(data_head(stream.id, size, END_STREAM if end and trailing is None else 0), piece)
        if trailing is not None:
            self._output.send_headers(stream, trailing, True)
        elif end:
            self._ended(stream)
        if not more:
            stream.drained()
