"""Where a WebSocket's frames end (RFC 6455 section 5.2), to say goodbye between two of them.

Of a tunnel nothing is known but what passes; so what goes to a client is counted along, header by header.
"""

from __future__ import annotations

from typing import Final

GOING_AWAY: Final = b"\x88\x02\x03\xe9"
"""A server's Close frame with status 1001 (section 7.4.1)."""

GOODBYE_SECONDS: Final = 5.0
"""For both ends to close, once the client was told."""

_CLOSE: Final = 8


class ServerFrames:
    """What an application sends to one client. After `leave`, the frame under way is the last before our Close."""

    __slots__ = ("_closed", "_header", "_leaving", "_left", "over")

    def __init__(self) -> None:
        self._left = 0
        """Bytes of the frame under way that are still to come."""
        self._header = b""
        """The beginning of a frame's header, when only that has come."""
        self._leaving = False
        self._closed = False
        """Whether the application's own Close frame has passed."""
        self.over = False
        """Whether the client was told, by either, that this is the end: nothing else may be sent."""

    def feed(self, data: bytes) -> bytes:
        """What is to be sent of this piece, with our Close after it if that is due."""
        size = len(data)
        if size > 1 and not (self._left or self._header or self._leaving):  # one whole frame, as most pieces are
            second = data[1]
            if second == size - 2 and second < 126 and data[0] & 0x0F != _CLOSE:
                return data
        if self.over:
            return b""
        if size <= self._left and not self._leaving:
            self._left -= len(data)
            return data
        known = self._header
        buffer = known + data if known else data
        end = self._follow(buffer)
        if end < 0:
            return data
        self.over = True
        return buffer[len(known) : end] + (b"" if self._closed else GOING_AWAY)

    def leave(self) -> bytes:
        """End it: our Close if no frame is under way. Else `feed` appends that, see `over`."""
        self._leaving = True
        if self.over or self._left or self._header:
            return b""
        self.over = True
        return b"" if self._closed else GOING_AWAY

    def _follow(self, buffer: bytes) -> int:
        """Go from frame to frame; where to stop for our Close, or -1."""
        position, size = self._left, len(buffer)
        self._left, self._header = 0, b""
        if position and self._leaving and position <= size:
            return position
        while position < size:
            length = _length(buffer, position)
            if length < 0:
                self._header = buffer[position:]
                return -1
            if buffer[position] & 0x0F == _CLOSE:
                self._closed = True
            position += length
            if self._leaving and position <= size:
                return position
        self._left = position - size
        return -1


def _length(buffer: bytes, start: int) -> int:
    """Bytes of the frame that begins here, header and all; -1 if too little has come to tell."""
    have = len(buffer) - start
    if have < 2:
        return -1
    second = buffer[start + 1]
    length, header = second & 0x7F, 2
    if length == 126:
        header = 4
    elif length == 127:
        header = 10
    if have < header:
        return -1
    if header > 2:
        length = int.from_bytes(buffer[start + 2 : start + header], "big")
    return header + (4 if second & 0x80 else 0) + length
