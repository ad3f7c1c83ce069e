"""Reading the body that follows a head: by length, in chunks (RFC 9112 section 7.1), or until the connection ends.

Every reader has the same face: ``feed(data)`` returns the body's bytes found in ``data``; once ``done`` is true,
``surplus`` holds what came after the body. Chunks are written by ``chunk``.
"""

from __future__ import annotations

import re
from typing import Protocol

from appliance.errors import ApplianceError
from appliance.http.headers import forwardable_trailers
from appliance.http.message import CHUNKED, UNTIL_CLOSE, Fields

LAST_CHUNK = b"0\r\n\r\n"

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})([\t ]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_SIZE_LINE_BYTES = 256
_EXTENSION_BYTES = 16 * 1024
_TRAILER_BYTES = 16 * 1024


class BodyError(ApplianceError):
    """A body whose framing is broken; nothing more can be read from its connection."""


class BodyReader(Protocol):
    """What a connection needs of a reader."""

    done: bool
    surplus: bytes

    @property
    def trailers(self) -> Fields | None:
        """What came after the body and may be forwarded, names in lower case; None or empty: nothing."""

    def feed(self, data: bytes) -> bytes:
        """Return the body's bytes in ``data``; raises BodyError."""


class LengthReader:
    """A body of a length known beforehand: counted, never looked into."""

    __slots__ = ("done", "remaining", "surplus")

    trailers: Fields | None = None

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0
        self.surplus = b""

    def feed(self, data: bytes) -> bytes:
        """See BodyReader."""
        remaining = self.remaining - len(data)
        if remaining > 0:
            self.remaining = remaining
            return data
        self.done = True
        if remaining < 0:
            self.surplus = data[remaining:]
            data = data[: self.remaining]
        self.remaining = 0
        return data


class UntilCloseReader:
    """A body that only the end of its connection ends: never done."""

    __slots__ = ("done", "surplus")

    trailers: Fields | None = None

    def __init__(self) -> None:
        self.done = False
        self.surplus = b""

    def feed(self, data: bytes) -> bytes:
        """See BodyReader."""
        return data


_SIZE, _DATA, _DATA_END, _TRAILER = range(4)


class ChunkedReader:
    """A chunked body, read strictly: lines end in CR LF, extensions are bounded and dropped."""

    __slots__ = (
        "_extension_bytes",
        "_partial",
        "_remaining",
        "_state",
        "_trailer_bytes",
        "_trailers",
        "done",
        "surplus",
    )

    def __init__(self) -> None:
        self.done = False
        self.surplus = b""
        self._state = _SIZE
        self._remaining = 0
        self._partial = b""
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self._trailers: Fields = []

    @property
    def trailers(self) -> Fields | None:
        """See BodyReader."""
        return forwardable_trailers(self._trailers) if self._trailers else None

    def feed(self, data: bytes) -> bytes:
        """See BodyReader."""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        pieces: list[bytes] = []
        position = 0
        end = len(data)
        while position < end and not self.done:
            if self._state == _DATA:
                piece = data[position : position + self._remaining]
                pieces.append(piece)
                position += len(piece)
                self._remaining -= len(piece)
                if not self._remaining:
                    self._state = _DATA_END
                continue
            line_end = data.find(b"\n", position)
            if line_end < 0:
                self._keep_partial(data[position:])
                break
            self._take_line(data[position : line_end + 1])
            position = line_end + 1
        if self.done:
            self.surplus = data[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _keep_partial(self, data: bytes) -> None:
        if self._state == _DATA_END and data != b"\r":
            raise BodyError("a chunk longer than its size")
        bound = _TRAILER_BYTES if self._state == _TRAILER else _SIZE_LINE_BYTES
        if len(data) > bound + 1:  # the CR may be among them
            raise BodyError("a line too long in a chunked body")
        self._partial = data

    def _take_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise BodyError("a line not ended by CR LF in a chunked body")
        line = line[:-2]
        if self._state == _DATA_END:
            if line:
                raise BodyError("a chunk longer than its size")
            self._state = _SIZE
        elif self._state == _SIZE:
            self._take_size(line)
        else:
            self._take_trailer(line)

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None or len(line) > _SIZE_LINE_BYTES:
            raise BodyError("a malformed chunk size")
        self._extension_bytes += len(match[2] or b"")
        if self._extension_bytes > _EXTENSION_BYTES:
            raise BodyError("too many bytes of chunk extensions")
        self._remaining = int(match[1], 16)
        self._state = _DATA if self._remaining else _TRAILER

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > _TRAILER_BYTES:
            raise BodyError("too many bytes of trailers")
        if not _TRAILER_LINE.fullmatch(line):
            raise BodyError("a malformed trailer field")
        name, _, value = line.partition(b":")
        self._trailers.append((name.lower(), value.strip(b" \t")))


def reader_for(framing: int) -> BodyReader:
    """The reader for a framing of ``message``."""
    if framing == CHUNKED:
        return ChunkedReader()
    if framing == UNTIL_CLOSE:
        return UntilCloseReader()
    return LengthReader(framing)


def chunk(data: bytes) -> bytes:
    """``data`` (not empty) as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields) -> bytes:
    """The end of a chunked body, with its trailers."""
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])
