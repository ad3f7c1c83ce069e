"""HTTP/2 frames on the wire (RFC 9113 sections 4, 6 and 7): constants, writers, and what can be wrong."""

from __future__ import annotations

from struct import Struct
from typing import Final

from appliance.errors import ApplianceError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
PRIORITY_UPDATE: Final = 16
"""RFC 9218."""

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
SETTINGS_TIMEOUT: Final = 0x4
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB
HTTP_1_1_REQUIRED: Final = 0xD

CODE_NAMES: Final = {
    NO_ERROR: "NO_ERROR",
    PROTOCOL_ERROR: "PROTOCOL_ERROR",
    INTERNAL_ERROR: "INTERNAL_ERROR",
    FLOW_CONTROL_ERROR: "FLOW_CONTROL_ERROR",
    SETTINGS_TIMEOUT: "SETTINGS_TIMEOUT",
    STREAM_CLOSED: "STREAM_CLOSED",
    FRAME_SIZE_ERROR: "FRAME_SIZE_ERROR",
    REFUSED_STREAM: "REFUSED_STREAM",
    CANCEL: "CANCEL",
    COMPRESSION_ERROR: "COMPRESSION_ERROR",
    ENHANCE_YOUR_CALM: "ENHANCE_YOUR_CALM",
    HTTP_1_1_REQUIRED: "HTTP_1_1_REQUIRED",
}
"""For messages."""

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8
"""RFC 8441."""
NO_RFC7540_PRIORITIES: Final = 0x9
"""RFC 9218."""

HEAD_BYTES: Final = 9
"""Of every frame: length, type, flags, stream."""
FRAME_BYTES: Final = 16384
"""The largest payload that everybody takes, and the largest that we take and send."""
WINDOW_BYTES: Final = 65535
"""Every window's size until SETTINGS or WINDOW_UPDATE change it."""
MAX_WINDOW: Final = 2**31 - 1
MAX_STREAM: Final = 2**31 - 1

_HEAD = Struct(">BHBBL")
read_head = _HEAD.unpack_from
"""``(length's high byte, length's low half, type, flags, stream with its reserved bit)`` at an offset."""
_pack = _HEAD.pack
_SETTING = Struct(">HL")
_LONG = Struct(">L")
_TWO_LONGS = Struct(">LL")


class Http2ConnectionError(ApplianceError):
    """The peer broke a rule that the whole connection depends on: GOAWAY with ``code``, then the end."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(reason)


class Http2StreamError(ApplianceError):
    """The peer broke a rule on one stream, which is reset with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(reason)


def data_head(stream: int, length: int, flags: int) -> bytes:
    """The nine bytes before ``length`` (up to `FRAME_BYTES`) of DATA."""
    return _pack(0, length, DATA, flags, stream)


def headers(stream: int, block: bytes, end_stream: bool) -> bytes:
    """HEADERS with a whole field block, and CONTINUATION frames where one does not hold it."""
    end = END_STREAM if end_stream else 0
    if len(block) <= FRAME_BYTES:
        return _pack(0, len(block), HEADERS, END_HEADERS | end, stream) + block
    pieces = [_pack(0, FRAME_BYTES, HEADERS, end, stream), block[:FRAME_BYTES]]
    for start in range(FRAME_BYTES, len(block), FRAME_BYTES):
        piece = block[start : start + FRAME_BYTES]
        last = END_HEADERS if start + FRAME_BYTES >= len(block) else 0
        pieces += (_pack(0, len(piece), CONTINUATION, last, stream), piece)
    return b"".join(pieces)


def settings(values: dict[int, int]) -> bytes:
    """SETTINGS that announce ``values``."""
    payload = b"".join(_SETTING.pack(name, value) for name, value in values.items())
    return _pack(0, len(payload), SETTINGS, 0, 0) + payload


SETTINGS_ACK: Final = _pack(0, 0, SETTINGS, ACK, 0)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings in a payload, in their order; raises Http2ConnectionError for a value out of range."""
    if len(payload) % 6:
        raise Http2ConnectionError(FRAME_SIZE_ERROR, "SETTINGS of a length that is no multiple of 6")
    values: list[tuple[int, int]] = list(_SETTING.iter_unpack(payload))
    for name, value in values:
        if name in (ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL) and value > 1:
            raise Http2ConnectionError(PROTOCOL_ERROR, f"setting {name} is neither 0 nor 1")
        if name == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise Http2ConnectionError(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE is too large")
        if name == MAX_FRAME_SIZE and not FRAME_BYTES <= value < 2**24:
            raise Http2ConnectionError(PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is out of range")
    return values


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE; ``stream`` 0: the connection's."""
    return _pack(0, 4, WINDOW_UPDATE, 0, stream) + _LONG.pack(increment)


def rst_stream(stream: int, code: int) -> bytes:
    """RST_STREAM."""
    return _pack(0, 4, RST_STREAM, 0, stream) + _LONG.pack(code)


def ping(payload: bytes, acknowledges: bool = False) -> bytes:
    """PING of 8 bytes."""
    return _pack(0, 8, PING, ACK if acknowledges else 0, 0) + payload


def goaway(last_stream: int, code: int, reason: str = "") -> bytes:
    """GOAWAY; ``reason`` is for whoever debugs the peer, in ASCII."""
    told = reason.encode("ascii", "replace")
    return _pack(0, 8 + len(told), GOAWAY, 0, 0) + _TWO_LONGS.pack(last_stream, code) + told


def long_in(payload: bytes) -> int:
    """The 32-bit number that a payload begins with."""
    number: int = _LONG.unpack_from(payload)[0]
    return number


def without_padding(payload: bytes) -> bytes:
    """What a padded DATA or HEADERS frame is about (section 6.1); raises Http2ConnectionError."""
    if not payload:
        raise Http2ConnectionError(FRAME_SIZE_ERROR, "a padded frame without the padding's length")
    if payload[0] >= len(payload):
        raise Http2ConnectionError(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]
