"""RFC 9113's rules that a client can break or try out with frames alone: what is sent, and what must come of it.

``ends`` names the code of the GOAWAY that ends the connection; ``resets`` that of the RST_STREAM that ends stream 1
(another stream: ``resets 3``), the connection living on; ``answers`` the status of stream 1; ``lives``: nothing comes
of it, and the connection still answers a PING.
"""

from __future__ import annotations

import struct

import pytest

from appliance.config import Limits
from tests.support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    GET,
    GOAWAY,
    HEADERS,
    PING,
    POST,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    changed,
    data,
    frame,
    headers,
    literal,
    ping,
    rst_stream,
    settings,
    window_update,
)
from tests.support.proxying import OK, proxy

MAX = 2**31 - 1
BLOCK = literal(GET)


def with_field(name: bytes, value: bytes) -> bytes:
    return headers(1, (*GET, (name, value)))


def long(number: int) -> bytes:
    return struct.pack(">L", number)


RULES: list[tuple[str, str, bytes, str]] = [
    # --- 4.1, 4.2: frames
    ("4.1", "a frame of unknown type is ignored", frame(0xEE, 0xFF, 0, b"what?"), "lives"),
    ("4.1", "flags that mean nothing are ignored", frame(PING, 0xFE, 0, b"12345678"), "lives"),
    ("4.1", "the reserved bit is ignored", frame(PING, 0, 1 << 31, b"12345678"), "lives"),
    ("4.1", "the reserved bit of a stream's frame is ignored", frame(HEADERS, 5, 1 | 1 << 31, BLOCK), "answers 200"),
    ("4.2", "a frame larger than the maximum", headers(1, POST, end=False) + data(1, bytes(16385)), "ends FRAME_SIZE"),
    ("4.2", "the largest frame", headers(1, POST, end=False) + data(1, bytes(16384), end=True), "answers 200"),
    ("4.2", "HEADERS larger than the maximum", frame(HEADERS, 5, 1, bytes(16385)), "ends FRAME_SIZE"),
    # --- 4.3: field blocks
    ("4.3", "a block that cannot be decoded", frame(HEADERS, 5, 1, b"\xff\xff\xff"), "ends COMPRESSION"),
    ("4.3", "an index beyond the table", frame(HEADERS, 5, 1, b"\xfe"), "ends COMPRESSION"),
    ("4.3", "index 0", frame(HEADERS, 5, 1, b"\x80"), "ends COMPRESSION"),
    ("4.3", "a table size beyond what is allowed", frame(HEADERS, 5, 1, b"\x3f\xe2\x1f" + BLOCK), "ends COMPRESSION"),
    ("4.3", "a table size after a field", frame(HEADERS, 5, 1, BLOCK + b"\x20"), "ends COMPRESSION"),
    ("4.3", "a smaller table", frame(HEADERS, 5, 1, b"\x20" + BLOCK), "answers 200"),
    ("4.3", "a block cut within a string", frame(HEADERS, 5, 1, BLOCK[:-1]), "ends COMPRESSION"),
    (
        "4.3",
        "Huffman code padded with zeros",
        frame(HEADERS, 5, 1, BLOCK + b"\x00\x81\x00\x01a"),
        "ends COMPRESSION",
    ),
    (
        "4.3",
        "a block in pieces",
        frame(HEADERS, 1, 1, BLOCK[:5]) + frame(CONTINUATION, 0, 1, BLOCK[5:9]) + frame(CONTINUATION, 4, 1, BLOCK[9:]),
        "answers 200",
    ),
    ("4.3", "another frame within a block", frame(HEADERS, 1, 1, BLOCK[:5]) + ping(), "ends PROTOCOL"),
    ("4.3", "an unknown frame within a block", frame(HEADERS, 1, 1, BLOCK[:5]) + frame(0xEE, 0, 0), "ends PROTOCOL"),
    ("4.3", "another stream's block", frame(HEADERS, 1, 1, BLOCK) + frame(CONTINUATION, 4, 3, b""), "ends PROTOCOL"),
    ("4.3", "another HEADERS within a block", frame(HEADERS, 1, 1, BLOCK) + headers(3), "ends PROTOCOL"),
    # --- 5.1: stream states
    ("5.1", "idle: DATA", data(1, b"x"), "ends PROTOCOL"),
    ("5.1", "idle: RST_STREAM", rst_stream(1), "ends PROTOCOL"),
    ("5.1", "idle: WINDOW_UPDATE", window_update(1, 1), "ends PROTOCOL"),
    ("5.1", "idle: CONTINUATION", frame(CONTINUATION, 4, 1, BLOCK), "ends PROTOCOL"),
    ("5.1", "idle: PRIORITY is allowed", frame(PRIORITY, 0, 1, long(0) + b"\x10"), "lives"),
    ("5.1", "half-closed: DATA", headers(1) + data(1, b"x"), "resets STREAM_CLOSED"),
    ("5.1", "half-closed: HEADERS", headers(1) + headers(1), "resets STREAM_CLOSED"),
    ("5.1", "half-closed: WINDOW_UPDATE is allowed", headers(1) + window_update(1, 1), "answers 200"),
    ("5.1", "half-closed: PRIORITY is allowed", headers(1) + frame(PRIORITY, 0, 1, long(0) + b"\x10"), "answers 200"),
    ("5.1", "closed by us: DATA is dropped", headers(1) + data(1, b"x") + data(1, b"y"), "resets STREAM_CLOSED"),
    (
        "5.1",
        "closed by us: HEADERS are dropped, but decoded",
        headers(1) + data(1, b"x") + headers(1) + headers(3),
        "answers 3 200",
    ),
    ("5.1", "reset by the client: HEADERS", headers(1) + rst_stream(1) + headers(1), "ends STREAM_CLOSED"),
    ("5.1", "reset by the client: DATA", headers(1) + rst_stream(1) + data(1), "resets STREAM_CLOSED"),
    ("5.1", "reset by the client: WINDOW_UPDATE", headers(1) + rst_stream(1) + window_update(1, 1), "lives"),
    ("5.1", "reset by the client: RST_STREAM again", headers(1) + rst_stream(1) + rst_stream(1), "lives"),
    ("5.1.1", "a stream with an even number", headers(2), "ends PROTOCOL"),
    ("5.1.1", "a number lower than the last", headers(5) + headers(3), "ends PROTOCOL"),
    ("5.1.1", "numbers may be left out", headers(1001), "answers 1001 200"),
    (
        "5.1.2",
        "more streams than agreed",
        b"".join(headers(1 + 2 * n, POST, False) for n in range(5)),
        "resets 9 REFUSED",
    ),
    ("5.3", "priorities are read past", frame(HEADERS, 0x25, 1, long(3) + b"\x10" + BLOCK), "answers 200"),
    ("5.3.1", "HEADERS that depend on itself", frame(HEADERS, 0x25, 1, long(1) + b"\1" + BLOCK), "resets PROTOCOL"),
    (
        "5.3.1",
        "PRIORITY on itself",
        headers(1, POST, False) + frame(PRIORITY, 0, 1, long(1) + b"\1"),
        "resets PROTOCOL",
    ),
    # --- 6.1: DATA
    ("6.1", "DATA on stream 0", data(0, b"x"), "ends PROTOCOL"),
    ("6.1", "padding is no content", headers(1, POST, False) + frame(DATA, 9, 1, b"\2hi\0\0"), "answers 200"),
    ("6.1", "padding longer than the frame", headers(1, POST, False) + frame(DATA, 9, 1, b"\4hi\0"), "ends PROTOCOL"),
    ("6.1", "padding of the frame's length", headers(1, POST, False) + frame(DATA, 9, 1, b"\5hi\0\0"), "ends PROTOCOL"),
    ("6.1", "nothing but padding", headers(1, POST, False) + frame(DATA, 9, 1, b"\1\0"), "answers 200"),
    ("6.1", "padded without a length", headers(1, POST, False) + frame(DATA, 9, 1), "ends FRAME_SIZE"),
    # --- 6.2: HEADERS
    ("6.2", "HEADERS on stream 0", headers(0), "ends PROTOCOL"),
    ("6.2", "padding", frame(HEADERS, 0xD, 1, b"\2" + BLOCK + b"\0\0"), "answers 200"),
    ("6.2", "padding and priority", frame(HEADERS, 0x2D, 1, b"\2" + long(0) + b"\0" + BLOCK + b"\0\0"), "answers 200"),
    ("6.2", "padding longer than the block", frame(HEADERS, 0xD, 1, bytes([len(BLOCK) + 1]) + BLOCK), "ends PROTOCOL"),
    ("6.2", "too short for its priority", frame(HEADERS, 0x25, 1, b"\0\0\0\0"), "ends FRAME_SIZE"),
    # --- 6.3: PRIORITY
    ("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), "ends PROTOCOL"),
    ("6.3", "PRIORITY of 4 bytes", headers(1, POST, False) + frame(PRIORITY, 0, 1, bytes(4)), "resets FRAME_SIZE"),
    ("6.3", "PRIORITY of 4 bytes on an idle stream", frame(PRIORITY, 0, 1, bytes(4)), "ends FRAME_SIZE"),
    ("5.3.1", "an idle stream that depends on itself", frame(PRIORITY, 0, 1, long(1) + b"\1"), "ends PROTOCOL"),
    # --- 6.4: RST_STREAM
    ("6.4", "RST_STREAM on stream 0", rst_stream(0), "ends PROTOCOL"),
    ("6.4", "RST_STREAM of 3 bytes", headers(1) + frame(RST_STREAM, 0, 1, bytes(3)), "ends FRAME_SIZE"),
    ("6.4", "an error code that means nothing", headers(1) + frame(RST_STREAM, 0, 1, b"\xff" * 4), "lives"),
    # --- 6.5: SETTINGS
    ("6.5", "an acknowledgement with content", frame(SETTINGS, ACK, 0, bytes(6)), "ends FRAME_SIZE"),
    ("6.5", "an acknowledgement", frame(SETTINGS, ACK, 0), "lives"),
    ("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1), "ends PROTOCOL"),
    ("6.5", "SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, bytes(5)), "ends FRAME_SIZE"),
    ("6.5.2", "ENABLE_PUSH of 2", settings((2, 2)), "ends PROTOCOL"),
    ("6.5.2", "INITIAL_WINDOW_SIZE too large", settings((4, 2**31)), "ends FLOW_CONTROL"),
    ("6.5.2", "MAX_FRAME_SIZE too small", settings((5, 16383)), "ends PROTOCOL"),
    ("6.5.2", "MAX_FRAME_SIZE too large", settings((5, 2**24)), "ends PROTOCOL"),
    ("6.5.2", "MAX_FRAME_SIZE of the largest value", settings((5, 2**24 - 1)), "lives"),
    ("6.5.2", "settings that mean nothing are ignored", settings((0xFF, 77), (0, 1)), "lives"),
    ("6.5.3", "every SETTINGS is acknowledged", settings((3, 7)), "sends SETTINGS 0 ack"),
    ("8441", "ENABLE_CONNECT_PROTOCOL of 2", settings((8, 2)), "ends PROTOCOL"),
    # --- 6.6: PUSH_PROMISE
    ("6.6", "clients do not push", headers(1) + frame(PUSH_PROMISE, 4, 1, long(2) + BLOCK), "ends PROTOCOL"),
    # --- 6.7: PING
    ("6.7", "PING is answered", ping(), "sends PING 0 ack"),
    ("6.7", "an answer to PING is not answered", ping(flags=ACK), "lives"),
    ("6.7", "PING on a stream", frame(PING, 0, 1, bytes(8)), "ends PROTOCOL"),
    ("6.7", "PING of 6 bytes", frame(PING, 0, 0, bytes(6)), "ends FRAME_SIZE"),
    # --- 6.8: GOAWAY
    ("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), "ends PROTOCOL"),
    ("6.8", "GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), "ends FRAME_SIZE"),
    ("6.8", "streams before GOAWAY are answered", headers(1) + frame(GOAWAY, 0, 0, bytes(8)), "answers 200"),
    # --- 6.9: flow control
    ("6.9", "WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(3)), "ends FRAME_SIZE"),
    ("6.9", "WINDOW_UPDATE by 0", window_update(0, 0), "ends PROTOCOL"),
    ("6.9", "WINDOW_UPDATE of a stream by 0", headers(1, POST, False) + window_update(1, 0), "resets PROTOCOL"),
    ("6.9.1", "a window beyond the largest", window_update(0, MAX), "ends FLOW_CONTROL"),
    ("6.9.1", "the largest window", window_update(0, MAX - 65535), "lives"),
    (
        "6.9.1",
        "a stream's window beyond the largest",
        headers(1, POST, False) + window_update(1, MAX),
        "resets FLOW_CONTROL",
    ),
    (
        "6.9.2",
        "SETTINGS that make a window too large",
        headers(1, POST, False) + window_update(1, MAX - 65535) + settings((4, 65536)),
        "ends FLOW_CONTROL",
    ),
    # --- 6.10: CONTINUATION
    ("6.10", "CONTINUATION on stream 0", frame(HEADERS, 1, 1, BLOCK) + frame(CONTINUATION, 4, 0), "ends PROTOCOL"),
    ("6.10", "CONTINUATION after the end", headers(1, POST, False) + frame(CONTINUATION, 4, 1), "ends PROTOCOL"),
    ("6.10", "CONTINUATION after DATA", headers(1, POST, False) + data(1) + frame(CONTINUATION, 4, 1), "ends PROTOCOL"),
    # --- 8.1: messages
    ("8.1", "content", headers(1, POST, False) + data(1, b"hello", end=True), "answers 200"),
    (
        "8.1",
        "trailers",
        headers(1, POST, False) + data(1, b"hello") + headers(1, [(b"checksum", b"1")]),
        "answers 200",
    ),
    ("8.1", "HEADERS that end nothing", headers(1, POST, False) + headers(1, [(b"a", b"1")], False), "resets PROTOCOL"),
    ("8.1", "a pseudo field in trailers", headers(1, POST, False) + headers(1, [(b":path", b"/")]), "resets PROTOCOL"),
    ("8.1", "upper case in trailers", headers(1, POST, False) + headers(1, [(b"A", b"/")]), "resets PROTOCOL"),
    # --- 8.2: fields
    ("8.2.1", "a name in upper case", with_field(b"X-Name", b"1"), "resets PROTOCOL"),
    ("8.2.1", "an empty name", with_field(b"", b"1"), "resets PROTOCOL"),
    ("8.2.1", "a name with a space", with_field(b"a b", b"1"), "resets PROTOCOL"),
    ("8.2.1", "a name with a colon", with_field(b"a:b", b"1"), "resets PROTOCOL"),
    ("8.2.1", "a name with a control character", with_field(b"a\x01", b"1"), "resets PROTOCOL"),
    ("8.2.1", "a name beyond ASCII", with_field(b"\xe4", b"1"), "resets PROTOCOL"),
    ("8.2.1", "a value with NUL", with_field(b"a", b"x\0y"), "resets PROTOCOL"),
    ("8.2.1", "a value with CR", with_field(b"a", b"x\ry"), "resets PROTOCOL"),
    ("8.2.1", "a value with LF", with_field(b"a", b"x\ny"), "resets PROTOCOL"),
    ("8.2.1", "a value that begins with a space", with_field(b"a", b" x"), "resets PROTOCOL"),
    ("8.2.1", "a value that ends with a tab", with_field(b"a", b"x\t"), "resets PROTOCOL"),
    ("8.2.1", "an empty value", with_field(b"a", b""), "answers 200"),
    ("8.2.1", "white space within a value", with_field(b"a", b"x \t y"), "answers 200"),
    ("8.2.2", "Connection", with_field(b"connection", b"close"), "resets PROTOCOL"),
    ("8.2.2", "Keep-Alive", with_field(b"keep-alive", b"1"), "resets PROTOCOL"),
    ("8.2.2", "Proxy-Connection", with_field(b"proxy-connection", b"close"), "resets PROTOCOL"),
    ("8.2.2", "Transfer-Encoding", with_field(b"transfer-encoding", b"chunked"), "resets PROTOCOL"),
    ("8.2.2", "Upgrade", with_field(b"upgrade", b"websocket"), "resets PROTOCOL"),
    ("8.2.2", "TE other than trailers", with_field(b"te", b"gzip"), "resets PROTOCOL"),
    ("8.2.2", "TE: trailers", with_field(b"te", b"trailers"), "answers 200"),
    ("8.2.2", "what concerns proxies is left out", with_field(b"proxy", b"http://evil"), "answers 200"),
    (
        "8.2",
        "a malformed request in pieces",
        frame(HEADERS, 1, 1, BLOCK) + frame(CONTINUATION, 4, 1, literal([(b"A", b"1")])),
        "resets PROTOCOL",
    ),
    # --- 8.3: pseudo fields
    ("8.3", "a pseudo field that is unknown", with_field(b":unknown", b"1"), "resets PROTOCOL"),
    ("8.3", "a response's pseudo field", headers(1, ((b":status", b"200"), *GET)), "resets PROTOCOL"),
    ("8.3", "a pseudo field after another", headers(1, ((b"a", b"1"), *GET)), "resets PROTOCOL"),
    ("8.3.1", "no :method", headers(1, changed(GET, method=None)), "resets PROTOCOL"),
    ("8.3.1", "no :scheme", headers(1, changed(GET, scheme=None)), "resets PROTOCOL"),
    ("8.3.1", "no :path", headers(1, changed(GET, path=None)), "resets PROTOCOL"),
    ("8.3.1", "an empty :path", headers(1, changed(GET, path=b"")), "resets PROTOCOL"),
    ("8.3.1", "a :path without /", headers(1, changed(GET, path=b"x")), "resets PROTOCOL"),
    ("8.3.1", "a :path with a space", headers(1, changed(GET, path=b"/ x")), "resets PROTOCOL"),
    ("8.3.1", "the :path * of GET", headers(1, changed(GET, path=b"*")), "resets PROTOCOL"),
    ("8.3.1", "the :path * of OPTIONS", headers(1, changed(GET, method=b"OPTIONS", path=b"*")), "answers 200"),
    ("8.3.1", "a repeated :method", headers(1, (*GET, (b":method", b"GET"))), "resets PROTOCOL"),
    ("8.3.1", "a repeated :scheme", headers(1, (*GET, (b":scheme", b"https"))), "resets PROTOCOL"),
    ("8.3.1", "a repeated :path", headers(1, (*GET, (b":path", b"/"))), "resets PROTOCOL"),
    ("8.3.1", "a :method that is no token", headers(1, changed(GET, method=b"G T")), "resets PROTOCOL"),
    ("8.3.1", "a :scheme that is none", headers(1, changed(GET, scheme=b"ftp")), "resets PROTOCOL"),
    ("8.3.1", "user information", headers(1, changed(GET, authority=b"me@example.com")), "resets PROTOCOL"),
    (
        "8.3.1",
        "Host alone",
        headers(1, (*changed(GET, authority=None), (b"host", b"example.com"))),
        "answers 200",
    ),
    ("8.3.1", "Host like :authority", with_field(b"host", b"example.com"), "answers 200"),
    ("8.3.1", "Host unlike :authority", with_field(b"host", b"other.example"), "resets PROTOCOL"),
    ("8.3.1", "two of Host", headers(1, (*GET, *[(b"host", b"example.com")] * 2)), "resets PROTOCOL"),
    ("8.3.1", "neither", headers(1, changed(GET, authority=None)), "answers 400"),
    # --- 8.1.1: content-length
    (
        "8.1.1",
        "less content than stated",
        headers(1, (*POST, (b"content-length", b"6")), False) + data(1, b"hello", end=True),
        "resets PROTOCOL",
    ),
    (
        "8.1.1",
        "more content than stated",
        headers(1, (*POST, (b"content-length", b"4")), False) + data(1, b"hello", end=True),
        "resets PROTOCOL",
    ),
    ("8.1.1", "none, but stated", headers(1, (*POST, (b"content-length", b"4"))), "resets PROTOCOL"),
    ("8.1.1", "none, as stated", headers(1, (*POST, (b"content-length", b"0"))), "answers 200"),
    (
        "8.1.1",
        "none, as stated, and the end later",
        headers(1, (*POST, (b"content-length", b"0")), False) + data(1, end=True),
        "answers 200",
    ),
    (
        "8.1.1",
        "some, where none was stated",
        headers(1, (*POST, (b"content-length", b"0")), False) + data(1, b"x", end=True),
        "resets PROTOCOL",
    ),
    (
        "8.1.1",
        "less with trailers",
        headers(1, (*POST, (b"content-length", b"6")), False) + data(1, b"hello") + headers(1, [(b"a", b"1")]),
        "resets PROTOCOL",
    ),
    ("8.1.1", "stated twice", headers(1, (*POST, *[(b"content-length", b"0")] * 2)), "resets PROTOCOL"),
    ("8.1.1", "stated in no number", headers(1, (*POST, (b"content-length", b"+1")), False), "resets PROTOCOL"),
    # --- 8.5 and what is not served
    ("8.5", "CONNECT", headers(1, ((b":method", b"CONNECT"), (b":authority", b"example.com:443"))), "answers 405"),
    (
        "8441",
        "a protocol that is unknown",
        headers(1, (*changed(GET, method=b"CONNECT"), (b":protocol", b"telnet"))),
        "answers 501",
    ),
    (
        "8441",
        "content stated for a tunnel",
        headers(1, (*changed(GET, method=b"CONNECT"), (b":protocol", b"websocket"), (b"content-length", b"1")), False),
        "resets PROTOCOL",
    ),
    ("8441", ":protocol without CONNECT", headers(1, (*GET, (b":protocol", b"websocket"))), "resets PROTOCOL"),
    ("9.1", "an unknown site", headers(1, changed(GET, authority=b"nobody.example")), "answers 404"),
    ("9.1.2", "a site of another certificate", headers(1, changed(GET, authority=b"other.example")), "answers 421"),
    ("9110", "an unknown method", headers(1, changed(GET, method=b"FROB")), "answers 501"),
    ("9110", "an unknown expectation", with_field(b"expect", b"more"), "answers 417"),
    ("9110", "a malformed authority", headers(1, changed(GET, authority=b"a:x")), "answers 400"),
]


def judge(client: Client, lines: list[str], expected: str) -> None:
    """Compare what came with a rule's word."""
    verb, *words = expected.split()
    if verb == "ends":
        last = lines[-1].split()
        assert last[0] == "GOAWAY", lines
        assert last[3].startswith(words[0]), lines
        assert client.peer.saw != "open", "the connection stays open"
    elif verb == "resets":
        stream = words[0] if len(words) > 1 else "1"
        resets = [line.split()[2] for line in lines if line.startswith(f"RST_STREAM {stream} ")]
        assert len(resets) == 1, lines
        assert resets[0].startswith(words[-1]), lines
        assert client.alive
    elif verb == "answers":
        stream = int(words[0]) if len(words) > 1 else 1
        status, _, ended = client.frames.answer(stream)
        assert (status, ended) == (int(words[-1]), True), lines
        assert not [line for line in lines if line.startswith(f"RST_STREAM {stream} ")], lines
    elif verb == "sends":
        assert " ".join(words) in lines
        assert client.alive
    else:
        assert not [line for line in lines if not line.startswith(("PING", "SETTINGS"))], lines
        assert client.alive


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize(("section", "rule", "sent", "expected"), RULES, ids=[f"{a} {b}" for a, b, _, _ in RULES])
def test_rule(section: str, rule: str, sent: bytes, expected: str, piece: int | None) -> None:
    """A rule of RFC 9113, or of the one that its section names; whole, and with every byte in a read of its own."""
    with proxy(limits=Limits(concurrent_streams=4)) as data_path:
        client = Client(data_path)
        lines = client.ask(sent, piece)
        for application in list(data_path.upstreams):  # which answers no sooner: all that was sent is one situation
            application.send(OK)
        judge(client, lines + client.read(), expected)
