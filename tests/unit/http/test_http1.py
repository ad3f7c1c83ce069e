"""Heads on the wire: what is taken, what is refused and with which status, what is written."""

from __future__ import annotations

import pytest

from appliance.config import Limits
from appliance.errors import RequestError, UpstreamError
from appliance.http import http1
from appliance.http.http1 import check_partial_head, read_request, read_response, write_request, write_response
from appliance.http.message import CHUNKED, NO_BODY, UNTIL_CLOSE, RequestHead, ResponseHead

LIMITS = Limits(header_bytes=1024, target_bytes=256, headers=10)


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: h") -> RequestHead:
    """Read a request of these field lines."""
    return read_request(b"".join(line + b"\r\n" for line in (start, *([host] if host else []), *lines, b"")), LIMITS)


def refused(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: h") -> int:
    """The status such a request is refused with."""
    with pytest.raises(RequestError) as caught:
        request(*lines, start=start, host=host)
    return caught.value.status


def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET") -> ResponseHead:
    """Read a response of these field lines."""
    return read_response(b"".join(line + b"\r\n" for line in (start, *lines, b"")), method)


class TestRequest:
    def test_plain(self) -> None:
        """The usual request: its fields stay in order and as they were spelled."""
        head = request(b"accept: */*", b"X-Empty:", b"Cookie:  a=b; c=d\t", b"cookie: e")
        assert (head.method, head.target, head.version) == (b"GET", b"/", 1)
        assert (head.authority, head.host, head.framing, head.keep_alive) == (b"h", b"h", NO_BODY, True)
        assert head.fields == [(b"accept", b"*/*"), (b"X-Empty", b""), (b"Cookie", b"a=b; c=d"), (b"cookie", b"e")]

    @pytest.mark.parametrize(
        ("start", "status"),
        [
            (b"GET / HTTP/1.1 ", 400), (b"GET  / HTTP/1.1", 400), (b" GET / HTTP/1.1", 400), (b"GET /", 400),
            (b"GET / http/1.1", 400), (b"GET / HTTP/11", 400), (b"GET / HTTP/1.10", 400), (b"GET /\t HTTP/1.1", 400),
            (b"GET /a b HTTP/1.1", 400), (b"GET /\x80 HTTP/1.1", 400), (b"GET /#f HTTP/1.1", 400),
            (b"G(T / HTTP/1.1", 400),
            (b"GET a HTTP/1.1", 400), (b"GET * HTTP/1.1", 400), (b"GET ftp://h/ HTTP/1.1", 400),
            (b"GET / HTTP/1.2", 400),
            (b"GET http:/h HTTP/1.1", 400), (b"GET http:///a HTTP/1.1", 400), (b"GET http://u@h/ HTTP/1.1", 400),
            (b"GET / HTTP/2.0", 505), (b"GET / HTTP/0.9", 505), (b"PRI * HTTP/2.0", 505), (b"PRI * HTTP/1.1", 501),
            (b"FOO / HTTP/1.1", 501), (b"get / HTTP/1.1", 501), (b"CONNECT h:443 HTTP/1.1", 405),
            (b"CONNECT / HTTP/1.1", 405),
        ],
    )  # fmt: skip
    def test_request_line(self, start: bytes, status: int) -> None:
        """One method, one target, one version, two spaces; a method nobody knows is 501, another version 505."""
        assert refused(start=start) == status

    @pytest.mark.parametrize(
        ("target", "origin", "authority"),
        [
            (b"http://other:80/a?b", b"/a?b", b"other:80"), (b"HTTPS://Other", b"/", b"Other"),
            (b"http://o?b", b"/?b", b"o"),
            (b"/a//b/../c;d", b"/a//b/../c;d", b"h"), (b"/http://x/", b"/http://x/", b"h"), (b"//x/", b"//x/", b"h"),
        ],
    )  # fmt: skip
    def test_target(self, target: bytes, origin: bytes, authority: bytes) -> None:
        """An absolute target is reduced to its path, and its authority counts rather than Host's."""
        head = request(start=b"GET %b HTTP/1.1" % target)
        assert (head.target, head.authority, head.host) == (origin, authority, authority.lower().removesuffix(b":80"))

    def test_asterisk(self) -> None:
        """OPTIONS may ask about the server as a whole."""
        assert request(start=b"OPTIONS * HTTP/1.1").target == b"*"

    def test_host(self) -> None:
        """Host must be there, once, well-formed, even beside an absolute target and in HTTP/1.0."""
        assert refused(host=b"") == 400
        assert refused(host=b"", start=b"GET / HTTP/1.0") == 400
        assert refused(host=b"", start=b"GET http://h/ HTTP/1.1") == 400
        assert refused(b"host: h") == 400
        for malformed in (b"", b"a:x", b"a b", b"a,b", b"h/"):
            assert refused(host=b"Host: " + malformed) == 400
            assert refused(host=b"Host: " + malformed, start=b"GET http://h/ HTTP/1.1") == 400

    @pytest.mark.parametrize(
        "line",
        [
            b"A : b", b" A: b", b"A", b": b", b"A: b\rc", b"A: b\nc", b"A: b\0", b"A: \x1b", b"A: \x7f", b"A\x80: b",
            b"A: b\r\n c", b"A: b\r\n\tc", b"A(: b", b"A\t: b", b"A: b\r", b"\x0bA: b",
        ],
    )  # fmt: skip
    def test_field_lines(self, line: bytes) -> None:
        """Fields are a token, a colon, and printable text: nothing folded, no control character."""
        assert refused(line) == 400

    def test_obsolete_text(self) -> None:
        """Bytes above ASCII are passed on as they are (RFC 9110 section 5.5)."""
        assert request(b"A: \xc3\xa4\xff").fields == [(b"A", b"\xc3\xa4\xff")]

    @pytest.mark.parametrize(
        "value", [b"+5", b"-5", b"0x5", b"5,5", b"5 5", b"", b"5.0", b"1e3", b"\xb5", b"9" * 19, b"5;"]
    )
    def test_malformed_length(self, value: bytes) -> None:
        """A length is decimal digits, not more than a file can have."""
        assert refused(b"Content-Length: " + value) == 400

    @pytest.mark.parametrize(
        "value",
        [
            b"identity", b"gzip", b"chunked, chunked", b"gzip, chunked", b"chunked, gzip", b"xchunked", b"chunkedx",
            b"chunked;a", b"\tchunked", b"chunked\t", b" \tchunked", b"ch\tunked", b"chunked,", b",chunked", b"",
            b'"chunked"',
        ],
    )  # fmt: skip
    def test_coding_other_than_chunked(self, value: bytes) -> None:
        """Transfer-Encoding is `chunked`, with nothing around it, or the request is refused."""
        assert refused(b"Transfer-Encoding: " + value) == 400

    def test_framing(self) -> None:
        """A body by length or by chunks; no two words about it, and no chunks in HTTP/1.0."""
        assert request(b"Content-Length: 005").framing == 5
        assert request(b"Content-Length: 0").framing == NO_BODY
        assert request(b"Content-Length: " + b"9" * 18).framing == 10**18 - 1
        assert request(b"transfer-encoding:chunked").framing == CHUNKED
        assert request(b"Transfer-Encoding: Chunked ").framing == CHUNKED
        assert refused(b"Content-Length: 5", b"Content-Length: 5") == 400
        assert refused(b"Content-Length: 5", b"Transfer-Encoding: chunked") == 400
        assert refused(b"Transfer-Encoding: chunked", b"Content-Length: 5") == 400
        assert refused(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") == 400
        assert refused(b"Transfer-Encoding: chunked", start=b"GET / HTTP/1.0") == 400

    @pytest.mark.parametrize(
        ("version", "connection", "keep_alive"),
        [
            (1, b"close", False), (1, b"Close", False), (1, b"keep-alive", True), (1, b"keep-alive, close", False),
            (1, b"x-a", True), (0, b"keep-alive", True), (0, b"Keep-Alive, X-A", True), (0, b"x-a", False),
            (0, b"close", False),
        ],
    )  # fmt: skip
    def test_persistence(self, version: int, connection: bytes, keep_alive: bool) -> None:
        """Whether the connection persists is as the version has it, unless Connection says otherwise."""
        head = request(b"Connection: " + connection, start=b"GET / HTTP/1.%d" % version)
        assert head.keep_alive is keep_alive

    def test_connection_nominates(self) -> None:
        """What Connection names goes no further; what the appliance needs or sets stays its own."""
        head = request(
            b"X-A: 1", b"Connection: x-a, host, content-length, x-forwarded-for", b"Connection: X-B", b"X-B: 2",
            b"X-C: 3",
            b"Content-Length: 5", b"X-Forwarded-For: 192.0.2.1",
        )  # fmt: skip
        assert (head.fields, head.host, head.framing) == ([(b"X-C", b"3")], b"h", 5)
        assert refused(b"Connection: a;b") == 400
        assert refused(b'Connection: "close"') == 400

    def test_not_forwarded(self) -> None:
        """Hop-by-hop fields, Expect, Proxy and names with an underscore are not among what is forwarded."""
        head = request(
            b"Keep-Alive: 5", b"TE: trailers", b"Trailer: x", b"Proxy-Connection: x", b"Proxy: http://evil",
            b"X_Real: 1",
            b"Expect: 100-Continue", b"HTTP2-Settings: x",
        )  # fmt: skip
        assert head.fields == []
        assert head.expects_continue

    def test_expectations(self) -> None:
        """Only 100-continue is known, and only from HTTP/1.1 on."""
        assert not request(b"Expect: 100-continue", start=b"GET / HTTP/1.0").expects_continue
        assert refused(b"Expect: 200-ok") == 417

    def test_forwarding_fields_are_kept_apart(self) -> None:
        """They are for a trusted proxy's sake only."""
        head = request(b"X-Forwarded-For: 192.0.2.1", b"Forwarded: for=x")
        assert head.forwarding == [(b"x-forwarded-for", b"192.0.2.1"), (b"forwarded", b"for=x")]
        assert head.fields == []

    @pytest.mark.parametrize(
        ("upgrade", "asked"),
        [
            (b"websocket", b"websocket"), (b"WebSocket/13", b"WebSocket/13"), (b"h2c", b""), (b"H2C", b""),
            (b"h2c/1", b""),
            (b"websocket, h2c", b""), (b"h2c,websocket", b""), (b"HTTP/2.0", b""), (b"", b""), (b"a b", b""),
            (b"a/b/c", b""),
        ],
    )  # fmt: skip
    def test_upgrade(self, upgrade: bytes, asked: bytes) -> None:
        """One other protocol may be asked for, never HTTP/2 in clear, nor a list that could hide it."""
        assert request(b"Connection: Upgrade", b"Upgrade: " + upgrade).upgrade == asked
        assert request(b"Connection:Upgrade", b"Upgrade:\t" + upgrade).upgrade == asked

    def test_upgrade_must_be_nominated(self) -> None:
        """Upgrade counts when Connection names it, once, from HTTP/1.1 on."""
        assert request(b"Upgrade: websocket").upgrade == b""
        assert request(b"Connection: keep-alive", b"Upgrade: websocket").upgrade == b""
        assert request(b"Connection: upgrade", b"Upgrade: a", b"Upgrade: b").upgrade == b""
        assert request(b"Connection: upgrade", b"Upgrade: a", start=b"GET / HTTP/1.0").upgrade == b""

    def test_limits(self) -> None:
        """Too long a target is 414; too long a header, or too many fields, 431; at the limit it is taken."""
        assert request(start=b"GET /%b HTTP/1.1" % (b"a" * 255)).target == b"/" + b"a" * 255
        assert refused(start=b"GET /%b HTTP/1.1" % (b"a" * 256)) == 414
        assert refused(start=b"GET /%b HTTP/1.1" % (b"a" * 2000)) == 414
        room = 1024 - len(b"GET / HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n")
        assert request(b"A: " + b"b" * room).fields
        assert refused(b"A: " + b"b" * (room + 1)) == 431
        assert len(request(*[b"A: b"] * 9).fields) == 9
        assert refused(*[b"A: b"] * 10) == 431


class TestPartialHead:
    @pytest.mark.parametrize(
        "data", [b"", b"GET / HTTP/1.1\r\nA: b", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\n", b"\x80\t"]
    )
    def test_may_become_good(self, data: bytes) -> None:
        """What may still become a head is waited for."""
        check_partial_head(data, 0, LIMITS)

    @pytest.mark.parametrize("data", [b"GET / HTTP/1.1\n", b"GET\0", b"GET / HTTP/1.1\rA", b"\x1b", b"\x16\x03\x01"])
    def test_cannot_become_good(self, data: bytes) -> None:
        """A bare CR or LF, or a control character, is refused at once: whoever sends it may never send more."""
        for scanned in range(len(data)):
            if scanned and b"\r" not in data:
                continue  # the broken place itself was scanned already
            with pytest.raises(RequestError) as caught:
                check_partial_head(data, scanned, LIMITS)
            assert caught.value.status == 400

    def test_long_target(self) -> None:
        """A request line that is too long is refused before it ends, one that is not may come in any pieces."""
        line = b"GET /" + b"a" * 255 + b" HTTP/1.1\r\n"
        for end in range(len(line)):
            check_partial_head(line[:end], max(end - 1, 0), LIMITS)
        with pytest.raises(RequestError) as caught:
            check_partial_head(b"GET /" + b"a" * 1100, 0, LIMITS)
        assert caught.value.status == 414

    def test_long_header(self) -> None:
        """A header is refused as soon as it is longer than it may be."""
        data = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200
        check_partial_head(data[:1024], 0, LIMITS)
        with pytest.raises(RequestError) as caught:
            check_partial_head(data[:1025], 1024, LIMITS)
        assert caught.value.status == 431


class TestResponse:
    def test_plain(self) -> None:
        """The usual response: hop-by-hop fields are taken out, the others stay as they are."""
        head = response(b"set-cookie: a", b"Set-Cookie: b", b"Keep-Alive: x", b"Content-Length: 5", b"Date:")
        assert (head.status, head.reason, head.version, head.framing) == (200, b"OK", 1, 5)
        assert head.fields == [(b"set-cookie", b"a"), (b"Set-Cookie", b"b"), (b"Date", b"")]
        assert head.keep_alive

    @pytest.mark.parametrize(
        "start",
        [
            b"HTTP/2 200 OK", b"HTTP/1.2 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 099 OK",
            b"HTTP/1.1 600 X",
            b"HTTP/1.1 2000 OK", b"HTTP/1.1 200OK", b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 O\rK", b"http/1.1 200 OK",
            b"ICY 200 OK",
            b"<html>", b"",
        ],
    )  # fmt: skip
    def test_malformed_status_line(self, start: bytes) -> None:
        """A status line is HTTP/1.x, three digits, and perhaps a reason."""
        with pytest.raises(UpstreamError, match="malformed"):
            response(start=start)

    def test_reasons(self) -> None:
        """A reason may be missing, empty, or in any bytes but control characters."""
        assert response(start=b"HTTP/1.1 200").reason == b""
        assert response(start=b"HTTP/1.1 200 ").reason == b""
        assert response(start=b"HTTP/1.1 404 Nicht \xe4\t da").reason == b"Nicht \xe4\t da"

    @pytest.mark.parametrize(
        "line", [b"A : b", b" A: b", b"A", b"A: b\r\n c", b"A: b\0", b"A: b\rSet-Cookie: x", b"A: b\nC: d"]
    )
    def test_malformed_field(self, line: bytes) -> None:
        """No folded line, no control character, no bare CR or LF reaches a client."""
        with pytest.raises(UpstreamError):
            response(line)

    @pytest.mark.parametrize(
        "lines",
        [
            [b"Content-Length: 5", b"Transfer-Encoding: chunked"], [b"Content-Length: 5", b"Content-Length: 6"],
            [b"Content-Length: 5", b"Content-Length: 5"], [b"Content-Length: +5"], [b"Content-Length:"],
            [b"Content-Length: 5,5"],
            [b"Transfer-Encoding: gzip"], [b"Transfer-Encoding: gzip, chunked"],
            [b"Transfer-Encoding: chunked, chunked"],
            [b"Transfer-Encoding: identity"], [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        ],
    )  # fmt: skip
    def test_doubtful_framing(self, lines: list[bytes]) -> None:
        """A response that could end in two places is no response."""
        with pytest.raises(UpstreamError):
            response(*lines)

    def test_chunks_in_http_1_0(self) -> None:
        """HTTP/1.0 knows no chunks."""
        with pytest.raises(UpstreamError):
            response(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK")

    @pytest.mark.parametrize(
        ("status", "method", "lines", "framing", "stated"),
        [
            (200, b"GET", [], UNTIL_CLOSE, None), (200, b"GET", [b"Content-Length: 0"], NO_BODY, 0),
            (200, b"GET", [b"Transfer-Encoding: CHUNKED"], CHUNKED, None),
            (200, b"HEAD", [b"Content-Length: 7"], NO_BODY, 7),
            (200, b"HEAD", [], NO_BODY, None), (200, b"HEAD", [b"Transfer-Encoding: chunked"], NO_BODY, None),
            (304, b"GET", [b"Content-Length: 7"], NO_BODY, 7), (304, b"GET", [], NO_BODY, None),
            (204, b"GET", [b"Content-Length: 7"], NO_BODY, None), (204, b"GET", [], NO_BODY, None),
            (103, b"GET", [], NO_BODY, None), (100, b"POST", [b"Content-Length: 7"], NO_BODY, None),
        ],
    )  # fmt: skip
    def test_framing(self, status: int, method: bytes, lines: list[bytes], framing: int, stated: int | None) -> None:
        """Where a body ends, by RFC 9112 section 6.3: HEAD, 1xx, 204 and 304 have none, whatever is stated."""
        head = response(*lines, start=b"HTTP/1.1 %d X" % status, method=method)
        assert (head.framing, head.stated_length) == (framing, stated)

    @pytest.mark.parametrize(
        ("version", "lines", "keep_alive"),
        [
            (1, [], True), (1, [b"Connection: Close"], False), (0, [], False), (0, [b"Connection: Keep-Alive"], True),
            (1, [b"Connection: x", b"Connection: close"], False), (1, [b"Connection: x"], True),
            (0, [b"Connection: x, Keep-Alive"], True),
        ],
    )  # fmt: skip
    def test_persistence(self, version: int, lines: list[bytes], keep_alive: bool) -> None:
        """As with requests."""
        assert response(*lines, start=b"HTTP/1.%d 200 OK" % version).keep_alive is keep_alive

    def test_connection_nominates(self) -> None:
        """What the upstream's Connection names stays between it and us."""
        assert response(b"Connection: x-a", b"X-A: 1", b"X-B: 2").fields == [(b"X-B", b"2")]

    def test_switching(self) -> None:
        """A 101 tells its protocol; elsewhere Upgrade is hop-by-hop and dropped."""
        head = response(b"Connection: upgrade", b"Upgrade: websocket", start=b"HTTP/1.1 101 Switching Protocols")
        assert (head.upgrade, head.fields) == (b"websocket", [])
        head = response(b"Connection:upgrade", b"Upgrade:\twebsocket", start=b"HTTP/1.1 101 Switching Protocols")
        assert (head.upgrade, head.fields) == (b"websocket", [])
        head = response(b"Upgrade: h2c", b"Content-Length: 0")
        assert (head.upgrade, head.fields) == (b"", [])


def sent(framing: int = NO_BODY, method: bytes = b"GET", upgrade: bytes = b"") -> bytes:
    """The head sent upstream for such a request."""
    head = RequestHead(method, b"/a?b", 0)
    head.authority, head.fields, head.framing, head.upgrade = (
        b"H:8443",
        [(b"X-A", b"1"), (b"x-b", b"")],
        framing,
        upgrade,
    )
    return write_request(head, b"/b", b"Via: 1.1 x\r\n")


@pytest.mark.parametrize(
    ("arguments", "tail"),
    [
        ((), b""),
        ((5,), b"Content-Length: 5\r\n"),
        ((CHUNKED,), b"Transfer-Encoding: chunked\r\n"),
        ((NO_BODY, b"POST"), b"Content-Length: 0\r\n"),
        ((NO_BODY, b"DELETE"), b""),
        ((NO_BODY, b"GET", b"websocket"), b"Connection: upgrade\r\nUpgrade: websocket\r\n"),
    ],
)
def test_write_request(arguments: tuple[int, bytes, bytes], tail: bytes) -> None:
    """Always HTTP/1.1, Host first and unchanged, the appliance's fields and framing last."""
    method = arguments[1] if len(arguments) > 1 else b"GET"
    assert sent(*arguments) == b"%b /b HTTP/1.1\r\nHost: H:8443\r\nX-A: 1\r\nx-b: \r\nVia: 1.1 x\r\n%b\r\n" % (
        method,
        tail,
    )


@pytest.mark.parametrize(
    ("status", "framing", "stated", "version", "keep_alive", "tail"),
    [
        (200, 5, None, 1, True, b"Content-Length: 5\r\n"),
        (200, 5, None, 1, False, b"Content-Length: 5\r\nConnection: close\r\n"),
        (200, 5, None, 0, True, b"Content-Length: 5\r\nConnection: keep-alive\r\n"),
        (200, CHUNKED, None, 1, True, b"Transfer-Encoding: chunked\r\n"),
        (200, UNTIL_CLOSE, None, 1, True, b"Transfer-Encoding: chunked\r\n"),
        (200, UNTIL_CLOSE, None, 0, False, b"Connection: close\r\n"),
        (200, NO_BODY, 0, 1, True, b"Content-Length: 0\r\n"),
        (304, NO_BODY, 7, 1, True, b"Content-Length: 7\r\n"),
        (204, NO_BODY, None, 1, True, b""),
        (103, NO_BODY, None, 1, False, b""),
        (101, NO_BODY, None, 1, False, b"Connection: upgrade\r\nUpgrade: websocket\r\n"),
    ],
)
def test_write_response(
    status: int, framing: int, stated: int | None, version: int, keep_alive: bool, tail: bytes
) -> None:
    """The framing is written afresh for the client's version, and whether the connection stays is said."""
    head = ResponseHead(status, b"X")
    head.fields, head.framing, head.stated_length, head.upgrade = [(b"A", b"b")], framing, stated, b"websocket"
    assert write_response(head, version, keep_alive) == b"HTTP/1.1 %d X\r\nA: b\r\n%b\r\n" % (status, tail)


def test_framing_does_not_rely_on_the_parser() -> None:
    """llhttp refuses both framings at once too, in the release at hand; our own rule stands by itself."""
    with pytest.raises(RequestError, match="both"):
        http1._request_framing(1, [b"5"], [b"chunked"])
    for lengths, codings in (([b"5"], [b"chunked"]), ([b"5", b"5"], [])):
        with pytest.raises(UpstreamError, match="it sent"):
            http1._take_response_framing(ResponseHead(200, b"OK"), lengths, codings, b"GET")
