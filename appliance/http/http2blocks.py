"""Field blocks on their way in (RFC 9113 section 4.3): HEADERS, and the CONTINUATION frames that may follow."""

from __future__ import annotations

from appliance.http.http2frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    MAX_STREAM,
    PADDED,
    PRIORITISED,
    PROTOCOL_ERROR,
    Http2ConnectionError,
    long_in,
    without_padding,
)

_CONTINUATIONS = 32


class Block:
    """A field block, whole once `complete` is true."""

    __slots__ = ("_pieces", "_size", "complete", "depends_on_itself", "ends_stream", "stream_id")

    def __init__(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Of a HEADERS frame; raises Http2ConnectionError."""
        if not stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & PADDED:
            payload = without_padding(payload)
        self.depends_on_itself = False
        """By RFC 7540's priorities; as long as there are such clients, a rule to be held to."""
        if flags & PRIORITISED:
            if len(payload) < 5:
                raise Http2ConnectionError(FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            self.depends_on_itself = long_in(payload) & MAX_STREAM == stream_id
            payload = payload[5:]
        self.stream_id = stream_id
        self.ends_stream = bool(flags & END_STREAM)
        self.complete = bool(flags & END_HEADERS)
        self._pieces = [payload]
        self._size = len(payload)

    def add(self, kind: int, flags: int, stream_id: int, payload: bytes, most: int) -> None:
        """Take the frame that follows, ``most`` bytes in all; raises Http2ConnectionError if it is none of this."""
        if kind != CONTINUATION or stream_id != self.stream_id:
            raise Http2ConnectionError(PROTOCOL_ERROR, "a frame within a field block")
        self._size += len(payload)
        self._pieces.append(payload)
        if self._size > most or len(self._pieces) > _CONTINUATIONS:
            raise Http2ConnectionError(ENHANCE_YOUR_CALM, "a field block far larger than allowed")
        self.complete = bool(flags & END_HEADERS)

    @property
    def content(self) -> bytes:
        """What there is of it."""
        pieces = self._pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
