"""HTTP/2 from the client's side, frame by frame: what may be sent and what must not, and what came back, readable."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import hpack

from appliance.http.http2 import Http2Connection
from appliance.net.turn import Turn
from tests.support.proxying import Proxy
from tests.support.transports import Peer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
NAMES = (
    *("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS"),
    *("PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"),
)
_CODES = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED"),
    *("FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"),
    *("INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)
CODES = {name: code for code, name in enumerate(_CODES)}
CODE_NAMES = {code: name for name, code in CODES.items()}

END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20

Fields = Sequence[tuple[bytes, bytes]]

GET = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"example.com"), (b":path", b"/"))
OK = ((b":status", b"200"),)
POST = ((b":method", b"POST"), *GET[1:])


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """Any frame at all; ``length`` where it shall lie."""
    size = len(payload) if length is None else length
    return struct.pack(">BHBBL", size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def literal(fields: Fields) -> bytes:
    """A field block that leaves the tables alone, whatever is in it."""

    def text(value: bytes) -> bytes:
        return bytes([len(value)]) + value if len(value) < 127 else b"\x7f" + _rest(len(value) - 127) + value

    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def _rest(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


def headers(stream: int, fields: Fields = GET, end: bool = True, flags: int = END_HEADERS) -> bytes:
    """HEADERS with a whole block."""
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, literal(fields))


def data(stream: int, payload: bytes = b"", end: bool = False) -> bytes:
    """DATA."""
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def settings(*values: tuple[int, int]) -> bytes:
    """SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *each) for each in values))


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", increment))


def rst_stream(stream: int, code: str = "CANCEL") -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, struct.pack(">L", CODES[code]))


def ping(payload: bytes = b"12345678", flags: int = 0) -> bytes:
    """PING."""
    return frame(PING, flags, 0, payload)


def changed(fields: Fields, **values: bytes | None) -> list[tuple[bytes, bytes]]:
    """``fields`` with the pseudo fields named replaced, or left out for None."""
    replaced = [(name, values.get(name[1:].decode(), value)) for name, value in fields]
    return [(name, value) for name, value in replaced if value is not None]


class Frames:
    """What came, taken apart. Each frame is a line: ``HEADERS 1 200 end``, ``RST_STREAM 1 CANCEL`` …"""

    def __init__(self) -> None:
        self._rest = b""
        self._decoder = hpack.Decoder()
        self.lines: list[str] = []
        self.fields: dict[int, list[list[tuple[bytes, bytes]]]] = {}
        """Every field section of every stream."""
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.sizes: list[tuple[int, int]] = []
        """Stream and size of every DATA frame, in their order."""
        self.settings: dict[int, int] = {}
        self.credit: dict[int, int] = {}
        """What WINDOW_UPDATE gave, by stream."""

    def feed(self, received: bytes) -> list[str]:
        """Take more; the lines that are new."""
        self._rest += received
        before = len(self.lines)
        while len(self._rest) >= 9:
            high, low, kind, flags, stream = struct.unpack(">BHBBL", self._rest[:9])
            end = 9 + (high << 16) + low
            if len(self._rest) < end:
                break
            payload, self._rest = self._rest[9:end], self._rest[end:]
            self.lines.append(" ".join([NAMES[kind], str(stream), *self._detail(kind, flags, stream, payload)]))
        return self.lines[before:]

    def _detail(self, kind: int, flags: int, stream: int, payload: bytes) -> Iterable[str]:
        assert len(payload) <= 16384
        if kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
            self.sizes.append((stream, len(payload)))
            yield str(len(payload))
        elif kind == HEADERS:
            assert flags & END_HEADERS
            fields: Any = list(map(tuple, self._decoder.decode(payload, raw=True)))
            self.fields.setdefault(stream, []).append(fields)
            assert all(name == name.lower() for name, _ in fields)
            told = dict(fields)
            yield (told.get(b":status") or told.get(b":path") or b"trailers").decode()
        elif kind == RST_STREAM:
            yield CODE_NAMES[struct.unpack(">L", payload)[0]]
        elif kind == GOAWAY:
            last, code = struct.unpack(">LL", payload[:8])
            yield from (str(last), CODE_NAMES[code])
        elif kind == WINDOW_UPDATE:
            (increment,) = struct.unpack(">L", payload)
            self.credit[stream] = self.credit.get(stream, 0) + increment
            yield str(increment)
        elif kind == SETTINGS and not flags & ACK:
            self.settings |= dict(struct.iter_unpack(">HL", payload))
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.ended.add(stream)
            yield "end"
        if kind in (SETTINGS, PING) and flags & ACK:
            yield "ack"

    def answer(self, stream: int) -> tuple[int, bytes, bool]:
        """Status, body, and whether it came to its end."""
        status = int(dict(self.fields[stream][-1])[b":status"])
        return status, self.bodies.get(stream, b""), stream in self.ended


class Http2Application:
    """The test's end of a connection that the appliance opened to an application, greeted unless ``hello`` is None."""

    def __init__(self, peer: Peer, hello: bytes | None = b"") -> None:
        self.peer = peer
        self.frames = Frames()
        opening = peer.take()
        assert opening.startswith(PREFACE), opening
        self.greeting = self.frames.feed(opening.removeprefix(PREFACE))
        """What the appliance said first."""
        if hello is not None:
            self.peer.send(hello or settings())
            self.acknowledged = self.read()
            """What it said to our SETTINGS: its requests."""

    def read(self) -> list[str]:
        """The frames that came since the last call."""
        return self.frames.feed(self.peer.take())

    def ask(self, *sent: bytes) -> list[str]:
        """Send, and read."""
        self.peer.send(b"".join(sent))
        return self.read()


class Client:
    """A connection to the appliance's HTTP/2, in memory, greeted unless ``greet`` is false."""

    def __init__(self, proxy: Proxy, *, greet: bool = True, hello: bytes | None = None, observer: Any = None) -> None:
        self.turn = Turn(proxy.network)
        self.connection = Http2Connection(
            proxy.handler, proxy.deadlines, self.turn, proxy.limits, proxy.timeouts, observer=observer
        )
        self.peer: Peer = proxy.network.connect(self.connection)
        self.frames = Frames()
        if greet:
            self.send(PREFACE + (settings() if hello is None else hello))
            self.greeting = self.read()

    def send(self, sent: bytes, piece: int | None = None) -> None:
        """Send, whole or in pieces; everything happens meanwhile."""
        self.peer.send(sent, piece)

    def read(self) -> list[str]:
        """The frames that came since the last call."""
        return self.frames.feed(self.peer.take())

    def ask(self, sent: bytes, piece: int | None = None) -> list[str]:
        """Send, and read."""
        self.send(sent, piece)
        return self.read()

    @property
    def alive(self) -> bool:
        """Whether a PING is answered."""
        return self.peer.saw == "open" and "PING 0 ack" in self.ask(ping(b"are-you?"))
