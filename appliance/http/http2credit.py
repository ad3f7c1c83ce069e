"""What a peer may send (RFC 9113 section 5.2): windows on our side, which what was dealt with opens again."""

from __future__ import annotations

from appliance.http.http2flow import FlowStream, Output
from appliance.http.http2frames import (
    FLOW_CONTROL_ERROR,
    WINDOW_BYTES,
    Http2ConnectionError,
    Http2StreamError,
    window_update,
)

STREAM_WINDOW = 256 * 1024
"""What a client may send on a stream before it is taken: the most that one upload holds in memory."""
CONNECTION_WINDOW = 1024 * 1024
"""The same for all its streams together: some that are slow leave room for the others."""


class Credit:
    """The windows of one connection and its streams. WINDOW_UPDATE goes out when half of a window was used."""

    __slots__ = ("_consumed", "_output", "_stream_window", "_window")

    def __init__(self, output: Output, stream_window: int) -> None:
        self._output = output
        self._stream_window = stream_window
        self._window = WINDOW_BYTES
        self._consumed = 0

    def widen(self, window: int) -> None:
        """Make the connection's window so large; once, in the beginning."""
        self._output.emit(window_update(0, window - self._window))
        self._window = window

    def arrived(self, size: int) -> None:
        """DATA of so many bytes came, for whatever stream."""
        self._window -= size
        if self._window < 0:
            raise Http2ConnectionError(FLOW_CONTROL_ERROR, "more DATA than the connection's window allows")
        self._offer_if_due()

    def arrived_on(self, stream: FlowStream, size: int) -> None:
        """It came for this stream."""
        stream.receive_window -= size
        if stream.receive_window < 0:
            self.returned(size)
            raise Http2StreamError(FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")

    def taken(self, stream: FlowStream, size: int) -> None:
        """So much was dealt with; the peer may send as much again."""
        self.returned(size)
        if not stream.remote_closed:
            stream.consumed += size
            if stream.consumed >= self._stream_window // 2:
                self._output.emit(window_update(stream.id, stream.consumed))
                stream.receive_window += stream.consumed
                stream.consumed = 0

    def returned(self, size: int) -> None:
        """So much concerns no stream any more."""
        self._consumed += size
        self._offer_if_due()

    def _offer_if_due(self) -> None:
        """Offer what was consumed: if it is much, or as much as is left where streams that are slow hold the rest."""
        if self._consumed >= min(CONNECTION_WINDOW // 2, self._window) and self._consumed:
            self._output.emit(window_update(0, self._consumed))
            self._window += self._consumed
            self._consumed = 0
