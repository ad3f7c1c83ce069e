"""Requests and responses that are nearly right: grammar, broken where servers are known to trip."""

from __future__ import annotations

from itertools import pairwise
from random import Random

_TARGETS = [
    b"/",
    b"/a?b=c",
    b"*",
    b"//x",
    b"/%2e%2e/",
    b"http://example.com/",
    b"http://other.example",
    b"/\x00",
    b"/ /",
    b"",
    b"x",
]
_METHODS = [
    b"GET",
    b"GET",
    b"POST",
    b"POST",
    b"HEAD",
    b"OPTIONS",
    b"PUT",
    b"get",
    b"CONNECT",
    b"G T",
    b"PRI",
    b"FOO",
    b"",
]
_VERSIONS = [b"HTTP/1.1"] * 8 + [
    b"HTTP/1.0",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"HTTP/1.2",
    b"http/1.1",
    b"",
    b"HTTP/1.1 ",
]
_NAMES = [
    b"Host", b"Content-Length", b"Content-length", b"Transfer-Encoding", b"transfer-encoding", b"Connection",
    b"Upgrade",
    b"Expect", b"X-A", b"X_A", b"Cookie", b"TE", b"Trailer", b"X-Forwarded-For", b"Forwarded", b"Keep-Alive", b"Date",
    b"Content_Length", b"Transfer-Encoding ", b"Content-Length\t", b" X", b"X\x00", b"", b"X\xe4", b"HTTP2-Settings",
    b"Proxy",
]  # fmt: skip
_VALUES = [
    b"example.com", b"other.example", b"example.com:x", b"0", b"5", b"+5", b"5,5", b"0x5", b"3",
    b"99999999999999999999",
    b"chunked", b"Chunked", b"chunked, chunked", b"identity", b"gzip, chunked", b"xchunked", b"chunked\t", b"\tchunked",
    b"close", b"keep-alive", b"upgrade", b"upgrade, x-a", b"host, content-length", b"websocket", b"h2c",
    b"100-continue",
    b"", b"x", b"x\x00y", b"x\ry", b"x\ny", b"x\r\n y", b"\xff", b"a" * 300, b"192.0.2.1", b"for=x", b"\x7f", b",",
    b"a;b",
]  # fmt: skip
_CHUNKS = [
    b"5\r\nhello\r\n", b"1\r\nx\r\n", b"A;x=y\r\n0123456789\r\n", b"005\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"0;x\r\n\r\n", b"5\nhello\r\n", b"5\r\nhello!\r\n", b"5\r\nhell\r\n", b"+5\r\nhello\r\n", b"0x5\r\nhello\r\n",
    b"5 \r\nhello\r\n",
    b"ffffffffffffffff\r\n", b"g\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\n\n", b"\r\n", b"5\r\nhello\n",
    b"5;\x00\r\nhello\r\n",
]  # fmt: skip
_ENDS = [b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n", b""]
_STATUS_LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 No",
    b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 Early Hints",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/2.0 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 99 X", b"HTTP/1.1 2000 X", b"ICY 200 OK", b"HTTP/1.1 200 \x00", b"",
]  # fmt: skip


_FIELDS = [name + b": " + value + b"\r\n" for name in _NAMES[:9] for value in _VALUES]
REQUEST_FRAGMENTS = [
    *[b"%b %b %b\r\nHost: example.com\r\n" % (m, t, v) for m in _METHODS for t in _TARGETS[:3] for v in _VERSIONS[:10]],
    *_FIELDS,
    *[b"\r\n"] * 200,
    *_CHUNKS * 5,
]
"""What request streams may be put together from."""
HEAD_FRAGMENTS = _FIELDS
"""Field lines of requests."""
CHUNK_FRAGMENTS = _CHUNKS
"""What chunked bodies may be put together from."""
RESPONSE_FRAGMENTS = [*[line + b"\r\n" for line in _STATUS_LINES] * 10, *_FIELDS, *[b"\r\n"] * 200, *_CHUNKS * 5]
"""What response streams may be put together from."""


def _fields(random: Random, lines: list[bytes]) -> bytes:
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        lines.append(random.choice(_NAMES) + random.choice([b": ", b":", b": ", b" : ", b""]) + random.choice(_VALUES))
    random.shuffle(lines)
    return b"".join(line + random.choice(_ENDS) for line in lines)


def _framed_body(random: Random, lines: list[bytes]) -> bytes:
    """A body, whose framing is added to the lines; usually they agree."""
    kind = random.randrange(6)
    if kind == 0:
        body = random.randbytes(random.randrange(6))
        lines.append(b"Content-Length: %d" % (len(body) + random.choice([0, 0, 0, 1, -1])))
        return body
    if kind == 1:
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(random.choice(_CHUNKS[:4]) for _ in range(random.randrange(4)))
        return body + random.choice([b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\n\r\n", b""])
    if kind == 2:
        lines.append(b"Transfer-Encoding: chunked")
        return b"".join(random.choice(_CHUNKS) for _ in range(random.randrange(6)))
    return b""


def _spoil(random: Random, data: bytes) -> bytes:
    """Sometimes a byte is changed, left out, put in or repeated."""
    while data and random.randrange(4) == 0:
        at = random.randrange(len(data))
        piece = random.choice(
            [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x00", b":", random.randbytes(1), data[at : at + 9]]
        )
        data = data[:at] + piece + data[at + random.randrange(2) :]
    return data


def request_bytes(random: Random) -> bytes:
    """What a client may send: a few requests, and what is nearly some."""
    data = b""
    for _ in range(random.choice([1, 1, 2, 3])):
        lines = [] if random.randrange(12) == 0 else [b"Host: example.com"]
        body = _framed_body(random, lines)
        start = random.choice(_METHODS[: random.choice([6, 13])]), random.choice(_TARGETS[: random.choice([2, 11])])
        version = random.choice(_VERSIONS[: random.choice([8, 16])])
        head = b" ".join((*start, version)) + random.choice(_ENDS)
        data += head + _fields(random, lines) + random.choice(_ENDS) + body + random.choice([b"", b"", b"\r\n"])
    return _spoil(random, data)


def response_bytes(random: Random) -> bytes:
    """What an application may send: a response, perhaps after informational ones, and what is nearly one."""
    data = b""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        lines: list[bytes] = []
        body = _framed_body(random, lines)
        head = random.choice(_STATUS_LINES[: random.choice([4, 17])]) + random.choice(_ENDS)
        data += head + _fields(random, lines) + random.choice(_ENDS) + body
    return _spoil(random, data)


def pieces(random: Random, data: bytes) -> list[bytes]:
    """The data cut at random."""
    cuts = sorted({random.randrange(len(data) + 1) for _ in range(random.choice([1, 2, 5, 20]))} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(cuts)]
