"""Every rule of strictness by name: the bytes sent, what they are answered with, and what reached the application.

Each input is sent whole, cut in two at every byte, and byte by byte. A refused request leaves nothing at the
application, an accepted one exactly one request in canonical form, read there by h11, which is strict itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appliance.config import Limits
from tests.support.proxying import REQUEST, Proxy, proxy, read_responses, ways
from tests.support.transports import FINISHED, OPEN

LIMITS = Limits(header_bytes=1024, target_bytes=128, headers=10, body_bytes=64)

HOST = b"Host: example.com\r\n"
GET = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
FIVE = {b"content-length": b"5"}
CODED = {b"transfer-encoding": b"chunked"}
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def get(*lines: bytes, end: bytes = b"\r\n") -> bytes:
    """A GET with these field lines and Host."""
    return GET + HOST + b"".join(line + b"\r\n" for line in lines) + end


def post(*lines: bytes, body: bytes = b"") -> bytes:
    """A POST with these field lines and Host."""
    return POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


REFUSED = {
    # Framing: whatever two servers could read differently (RFC 9112 sections 6.1 to 6.3)
    "length and coding": (400, post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    "coding and length": (400, post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n")),
    "two lengths": (400, post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello")),
    "one length twice": (400, post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    "list of lengths": (400, post(b"Content-Length: 5,5", body=b"hello")),
    "positive length": (400, post(b"Content-Length: +5", body=b"hello")),
    "negative length": (400, post(b"Content-Length: -5", body=b"hello")),
    "hexadecimal length": (400, post(b"Content-Length:  0x5", body=b"hello")),
    "fractional length": (400, post(b"Content-Length: 5.0", body=b"hello")),
    "empty length": (400, post(b"Content-Length: ", body=b"hello")),
    "overflowing length": (400, post(b"Content-Length: 18446744073709551621", body=b"hello")),
    "length with a space": (400, post(b"Content-Length: 5 5", body=b"hello")),
    "identity": (400, post(b"Transfer-Encoding: identity", body=b"hello")),
    "identity and length": (400, post(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello")),
    "chunked twice": (400, post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")),
    "chunked in two fields": (400, post(*[b"Transfer-Encoding: chunked"] * 2, body=b"0\r\n\r\n")),
    "chunked not last": (400, post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n")),
    "another coding first": (400, post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    "xchunked": (400, post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n")),
    "chunked quoted": (400, post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n")),
    "tab before chunked": (400, post(b"Transfer-Encoding:\tchunked", body=b"0\r\n\r\n")),
    "tab after chunked": (400, post(b"Transfer-Encoding: chunked\t", body=b"0\r\n\r\n")),
    "tab within chunked": (400, post(b"Transfer-Encoding: chun\tked", body=b"0\r\n\r\n")),
    "vertical tab before chunked": (400, post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    "NUL after chunked": (400, post(b"Transfer-Encoding: chunked\0", body=b"0\r\n\r\n")),
    "empty coding": (400, post(b"Transfer-Encoding:", body=b"0\r\n\r\n")),
    "chunked in HTTP/1.0": (
        400, b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "space before the length's colon": (400, post(b"Content-Length : 5", body=b"hello")),
    "space before the coding's colon": (400, post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    # Field lines (RFC 9112 section 5)
    "space before a colon": (400, get(b"X : y")),
    "tab before a colon": (400, get(b"X\t: y")),
    "folded line": (400, get(b"X: y\r\n z")),
    "line folded with a tab": (400, get(b"X: y\r\n\tz")),
    "folded first line": (400, GET + b" X: y\r\n" + HOST + b"\r\n"),
    "no colon": (400, get(b"X")),
    "empty name": (400, get(b": y")),
    "name not a token": (400, get(b"X(y): z")),
    "name beyond ASCII": (400, get(b"X\xc3\xa4: z")),
    "NUL in a name": (400, get(b"X\0: y")),
    "NUL in a value": (400, get(b"X: y\0z")),
    "bare CR in a value": (400, get(b"X: y\rZ: 1")),
    "bare CR before CR LF": (400, get(b"X: y\r")),
    "bare LF in a value": (400, get(b"X: y\nZ: 1")),
    "bare LF at the end": (400, get(b"X: y", end=b"\n")),
    "bare LFs only": (400, b"GET / HTTP/1.1\nHost: example.com\n\n"),
    "escape in a value": (400, get(b"X: \x1b[31m")),
    "DEL in a value": (400, get(b"X: \x7f")),
    # Host (RFC 9110 section 7.2)
    "no Host": (400, GET + b"\r\n"),
    "no Host in HTTP/1.0": (400, b"GET / HTTP/1.0\r\n\r\n"),
    "two Hosts": (400, get(b"Host: example.com")),
    "another Host": (400, get(b"Host: other.example")),
    "empty Host": (400, GET + b"Host:\r\n\r\n"),
    "Host a dot": (400, GET + b"Host: .\r\n\r\n"),
    "Host with letters for a port": (400, GET + b"Host: example.com:x\r\n\r\n"),
    "Host with too great a port": (400, GET + b"Host: example.com:65536\r\n\r\n"),
    "Host with a user": (400, GET + b"Host: user@example.com\r\n\r\n"),
    "Host with a path": (400, GET + b"Host: example.com/\r\n\r\n"),
    "Host a list": (400, GET + b"Host: example.com, other.example\r\n\r\n"),
    "Host with a space": (400, GET + b"Host: example.com x\r\n\r\n"),
    "Host beyond ASCII": (400, GET + b"Host: ex\xc3\xa4mple.com\r\n\r\n"),
    "no Host, absolute target": (400, b"GET http://example.com/ HTTP/1.1\r\n\r\n"),
    "malformed Host, absolute target": (400, b"GET http://example.com/ HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    # Request lines (RFC 9112 section 3)
    "two spaces before the target": (400, b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "two spaces after the target": (400, b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n"),
    "space at the end": (400, b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
    "space at the start": (400, b" GET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "tabs for spaces": (400, b"GET\t/\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    "space in the target": (400, b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "NUL in the target": (400, b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "bare CR in the target": (400, b"GET /\r HTTP/1.1\r\n" + HOST + b"\r\n"),
    "target beyond ASCII": (400, b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "fragment": (400, b"GET /#x HTTP/1.1\r\n" + HOST + b"\r\n"),
    "relative target": (400, b"GET x HTTP/1.1\r\n" + HOST + b"\r\n"),
    "authority as target": (400, b"GET example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "asterisk for GET": (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
    "another scheme": (400, b"GET ftp://example.com/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "user in an absolute target": (400, b"GET http://u:p@example.com/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "absolute target without a host": (400, b"GET http:///x HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no version": (400, b"GET /\r\n" + HOST + b"\r\n"),
    "lower-case version": (400, b"GET / http/1.1\r\n" + HOST + b"\r\n"),
    "version 1.2": (400, b"GET / HTTP/1.2\r\n" + HOST + b"\r\n"),
    "version 0.9": (505, b"GET / HTTP/0.9\r\n" + HOST + b"\r\n"),
    "version 2": (505, b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "method not a token": (400, b"G=T / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "NUL in the method": (400, b"G\0T / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "unknown method": (501, b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "lower-case method": (501, b"get / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "CONNECT": (405, b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "two empty lines first": (400, b"\r\n\r\n" + get()),
    "TLS on a plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # Connection and Expect
    "malformed Connection": (400, get(b"Connection: close;x")),
    "unknown expectation": (417, get(b"Expect: 200-ok")),
    # Bounds
    "long target": (414, b"GET /" + b"a" * 128 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "very long target": (414, b"GET /" + b"a" * 1100 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "long header": (431, get(b"X: " + b"y" * 1024)),
    "many fields": (431, get(*[b"X: y"] * 10)),
    "long body": (413, post(b"Content-Length: 65", body=b"x" * 65)),
}  # fmt: skip

BROKEN_BODIES = {
    # These come after a good head, which may be on its way upstream: no request is ever completed there.
    "size not hexadecimal": (400, b"g\r\nhello\r\n0\r\n\r\n"),
    "no size": (400, b"\r\nhello\r\n0\r\n\r\n"),
    "positive size": (400, b"+5\r\nhello\r\n0\r\n\r\n"),
    "negative size": (400, b"-5\r\nhello\r\n0\r\n\r\n"),
    "size with 0x": (400, b"0x5\r\nhello\r\n0\r\n\r\n"),
    "size with an underscore": (400, b"0_5\r\nhello\r\n0\r\n\r\n"),
    "space before a size": (400, b" 5\r\nhello\r\n0\r\n\r\n"),
    "space after a size": (400, b"5 \r\nhello\r\n0\r\n\r\n"),
    "overflowing size": (400, b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "size ended by LF": (400, b"5\nhello\r\n0\r\n\r\n"),
    "size ended by CR": (400, b"5\rhello\r\n0\r\n\r\n"),
    "bare CR in an extension": (400, b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "bare LF in an extension": (400, b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "NUL in an extension": (400, b"5;\0\r\nhello\r\n0\r\n\r\n"),
    "long extension": (400, b"5;" + b"x" * 256 + b"\r\nhello\r\n0\r\n\r\n"),
    "chunk longer than its size": (400, b"4\r\nhello\r\n0\r\n\r\n"),
    "chunk shorter than its size": (400, b"6\r\nhello\r\n0\r\n\r\n"),
    "chunk ended by LF": (400, b"5\r\nhello\n0\r\n\r\n"),
    "chunk ended by CR": (400, b"5\r\nhello\r0\r\n\r\n"),
    "last chunk ended by LF": (400, b"5\r\nhello\r\n0\n\r\n"),
    "body ended by LF": (400, b"5\r\nhello\r\n0\r\n\n"),
    "trailer without a colon": (400, b"0\r\nX\r\n\r\n"),
    "space before a trailer's colon": (400, b"0\r\nX : y\r\n\r\n"),
    "folded trailer": (400, b"0\r\nX: y\r\n z\r\n\r\n"),
    "NUL in a trailer": (400, b"0\r\nX: \0\r\n\r\n"),
    "too long by chunks": (413, b"30\r\n" + b"x" * 48 + b"\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"),
}

ORIGIN = {
    b"x-forwarded-for": b"192.0.2.7",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"example.com",
    b"x-forwarded-port": b"443",
    b"forwarded": b"for=192.0.2.7;host=example.com;proto=https",
    b"via": b"1.1 appliance",
}

ACCEPTED: dict[str, tuple[bytes, bytes, bytes, dict[bytes, bytes], bytes]] = {
    # name: sent; then method, target, fields other than those of `ORIGIN` and Host, body as the application sees them
    "plain": (get(), b"GET", b"/", {}, b""),
    "empty line first": (b"\r\n" + get(), b"GET", b"/", {}, b""),
    "absolute target": (
        b"GET http://example.com/a?b HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"GET", b"/a?b", {}, b""
    ),
    "absolute target, no path": (b"GET https://example.com?b HTTP/1.1\r\n" + HOST + b"\r\n", b"GET", b"/?b", {}, b""),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", b"OPTIONS", b"*", {}, b""),
    "dots and slashes": (b"GET /a//../%2e/;x HTTP/1.1\r\n" + HOST + b"\r\n", b"GET", b"/a//../%2e/;x", {}, b""),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n" + HOST + b"\r\n", b"GET", b"/", {}, b""),
    "HTTP/1.0 with a body": (
        b"POST / HTTP/1.0\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", b"POST", b"/", FIVE, b"hello"
    ),
    "length": (post(b"Content-Length: 5", body=b"hello"), b"POST", b"/", FIVE, b"hello"),
    "length with zeros": (post(b"Content-Length: 0005", body=b"hello"), b"POST", b"/", FIVE, b"hello"),
    "no length": (post(), b"POST", b"/", {b"content-length": b"0"}, b""),
    "body of a GET": (get(b"Content-Length: 2") + b"hi", b"GET", b"/", {b"content-length": b"2"}, b"hi"),
    "chunked": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"POST", b"/", CODED, b"hello"),
    "chunked in capitals": (
        post(b"TRANSFER-ENCODING: CHUNKED", body=b"5\r\nhello\r\n0\r\n\r\n"),
        b"POST", b"/", CODED, b"hello",
    ),
    "extensions and trailers": (
        CHUNKED + b'5;a="b;c";d\r\nhello\r\n00;e\r\nX-Admin: 1\r\nContent-Length: 9\r\n\r\n',
        b"POST", b"/", CODED, b"hello",
    ),
    "empty chunked": (CHUNKED + b"0\r\n\r\n", b"POST", b"/", CODED, b""),
    "white space around a value": (get(b"X: \t y z\t "), b"GET", b"/", {b"x": b"y z"}, b""),
    "empty value": (get(b"X:"), b"GET", b"/", {b"x": b""}, b""),
    "underscores": (get(b"X_Y: 1", b"X-Y: 2", b"Content_Length: 9"), b"GET", b"/", {b"x-y": b"2"}, b""),
    "forwarding fields": (
        get(
            b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Proto: http", b"X-Forwarded-Host: evil", b"Forwarded: for=x",
            b"X-Forwarded-Port: 1", b"X-Forwarded-Prefix: /x", b"X-Real-IP: 1.2.3.4",
        ),
        b"GET", b"/", {}, b"",
    ),
    "hop-by-hop fields": (
        get(b"Connection: keep-alive,x-y", b"Keep-Alive: 5", b"TE: x", b"Trailer: a", b"X-Y: 1", b"Proxy-Connection:"),
        b"GET", b"/", {}, b"",
    ),
    "nominated forwarding fields": (
        get(b"Connection: x-forwarded-for, x-forwarded-proto, forwarded, host, via"), b"GET", b"/", {}, b""
    ),
    "nominated length": (
        post(b"Connection: content-length", b"Content-Length: 5", body=b"hello"), b"POST", b"/", FIVE, b"hello"
    ),
    "nominated coding": (
        post(b"Connection: transfer-encoding", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
        b"POST", b"/", CODED, b"hello",
    ),
    "Proxy": (get(b"Proxy: http://evil.example"), b"GET", b"/", {}, b""),
    "h2c": (
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"), b"GET", b"/", {}, b""
    ),
    "h2c in a list": (get(b"Connection: upgrade", b"Upgrade: websocket, h2c"), b"GET", b"/", {}, b""),
    "h2c by prior knowledge of a name": (get(b"Upgrade: h2c"), b"GET", b"/", {}, b""),
    "upgrade not nominated": (get(b"Upgrade: websocket"), b"GET", b"/", {}, b""),
    "longest target": (
        b"GET /" + b"a" * 127 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"GET", b"/" + b"a" * 127, {}, b""
    ),
    "longest body": (post(b"Content-Length: 64", body=b"x" * 64), b"POST", b"/", {b"content-length": b"64"}, b"x" * 64),
}  # fmt: skip


def shortened(data: bytes) -> Iterator[list[bytes]]:
    """As `ways`, but long inputs are cut at every byte of their ends only: their middle is one byte repeated."""
    if len(data) < 400:
        yield from ways(data)
        return
    for cut in (*range(1, 80), *range(110, 200), *range(len(data) - 80, len(data))):
        yield [data[:cut], data[cut:]]
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """The request is answered with its status, the connection closes, and the application hears nothing."""
    status, data = REFUSED[name]
    for pieces in shortened(data):
        with proxy(limits=LIMITS) as path:
            path.respond()
            client = path.client()
            for piece in pieces:
                client.send(piece)
            answers = read_responses(client.take(), [b"GET", b"GET"], True)
            assert [(answer[0], answer[3]) for answer in answers] == [(status, True)], pieces
            assert client.saw == FINISHED, pieces
            assert path.network.dialled == [], pieces


@pytest.mark.parametrize("name", REFUSED)
def test_refused_after_another(name: str) -> None:
    """On a connection that has served a request, with an idle one to the application at hand, all is the same."""
    status, data = REFUSED[name]
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        with proxy(limits=LIMITS) as path:
            path.respond()
            client = path.client()
            client.send(REQUEST % 1)
            for piece in pieces:
                client.send(piece)
            answers = read_responses(client.take(), [b"GET", b"GET", b"GET"], True)
            assert [(answer[0], answer[3]) for answer in answers] == [(200, True), (status, True)]
            assert client.saw == FINISHED
            [application] = path.applications
            assert [request[1] for request in application.requests] == [b"/1"]
            assert not application.amid


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("name", BROKEN_BODIES)
def test_broken_body(name: str, reused: bool) -> None:
    """A body whose framing breaks never becomes a request of the application's, whose connection then closes."""
    status, body = BROKEN_BODIES[name]
    data = CHUNKED + body
    for cut in range(1, len(data) + 1):
        with proxy(limits=LIMITS) as path:
            path.respond()
            if reused:
                path.client().send(REQUEST % 1)
            client = path.client()
            client.send(data[:cut])
            client.send(data[cut:])
            answers = read_responses(client.take(), [b"POST", b"GET"], True)
            assert [(answer[0], answer[3]) for answer in answers] == [(status, True)], cut
            assert client.saw == FINISHED
            assert sum(len(application.requests) for application in path.applications) == reused, cut
            if cut == len(data):  # all of it was there from the start
                assert not any(application.amid for application in path.applications)
            else:
                assert path.pool.open == len(path.upstreams) - sum(peer.lost is not None for peer in path.upstreams)
                assert path.pool.idle == path.pool.open


def canonical(path: Proxy, name: str) -> None:
    """The application got exactly one request, the one of the table."""
    _, method, target, fields, body = ACCEPTED[name]
    [application] = path.applications
    assert application.error is None
    [(seen_method, seen_target, seen_fields, seen_body)] = application.requests
    assert (seen_method, seen_target, seen_body) == (method, target, body)
    assert len(dict(seen_fields)) == len(seen_fields)
    assert dict(seen_fields) == {b"host": b"example.com", **ORIGIN, **fields}
    assert application.raw.startswith(b"%b %b HTTP/1.1\r\nHost: example.com\r\n" % (method, target))


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    """The application receives one canonical request, however the client spelled and cut it."""
    data = ACCEPTED[name][0]
    for pieces in ways(data):
        with proxy(limits=LIMITS) as path:
            path.respond()
            client = path.client()
            for piece in pieces:
                client.send(piece)
            canonical(path, name)
            answers = read_responses(client.take(), [b"GET"], client.saw != OPEN)
            assert [(answer[0], answer[2], answer[3]) for answer in answers] == [(200, b"ok", True)]
            assert client.saw == (FINISHED if b"HTTP/1.0" in data else OPEN)


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_and_followed(name: str) -> None:
    """What follows a request at once is the next request, never a part of the one before."""
    data = ACCEPTED[name][0]
    if b"HTTP/1.0" in data:
        return
    for pieces in ([data + REQUEST % 2], [(data + REQUEST % 2)[at : at + 1] for at in range(len(data) + 200)]):
        with proxy(limits=LIMITS) as path:
            path.respond()
            client = path.client()
            for piece in pieces:
                client.send(piece)
            [application] = path.applications
            assert application.error is None
            assert [request[1] for request in application.requests] == [ACCEPTED[name][2], b"/2"]
            answers = read_responses(client.take(), [b"GET", b"GET"], False)
            assert [(answer[0], answer[2], answer[3]) for answer in answers] == [(200, b"ok", True)] * 2
