"""What becomes of each answer an application may give: the bytes it sends, how it ends, what the client gets.

Each answer is sent whole, cut in two at every byte, and byte by byte.
"""

from __future__ import annotations

import pytest

from tests.support.proxying import OK, REQUEST, proxy, read_responses, ways
from tests.support.transports import OPEN, RESET

STAYS, ENDS, BREAKS = "stays", "ends", "breaks"
HEAD = b"HTTP/1.1 200 OK\r\n"

BAD_RESPONSES = {
    # name: what the application sends, what becomes of its connection; the client gets 502
    "no HTTP": (STAYS, b"<html>\r\n\r\n"),
    "nothing": (ENDS, b""),
    "nothing, reset": (BREAKS, b""),
    "half a head": (ENDS, b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a head, reset": (BREAKS, b"HTTP/1.1 200 OK\r\nContent-Le"),
    "HTTP/0.9": (ENDS, b"hello"),
    "version 2": (STAYS, b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    "version 1.2": (STAYS, b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    "status of two digits": (STAYS, b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
    "status of four digits": (STAYS, b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    "status 600": (STAYS, b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok"),
    "status 000": (STAYS, b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok"),
    "NUL in the reason": (STAYS, b"HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok"),
    "CR in the reason": (STAYS, b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok"),
    "length and coding": (STAYS, HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "two lengths": (STAYS, HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    "one length twice": (STAYS, HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    "list of lengths": (STAYS, HEAD + b"Content-Length: 2, 2\r\n\r\nok"),
    "negative length": (STAYS, HEAD + b"Content-Length: -2\r\n\r\nok"),
    "another coding": (STAYS, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (STAYS, HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "chunked in HTTP/1.0": (STAYS, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "space before a colon": (STAYS, HEAD + b"X : y\r\nContent-Length: 2\r\n\r\nok"),
    "folded line": (STAYS, HEAD + b"X: y\r\n z\r\nContent-Length: 2\r\n\r\nok"),
    "NUL in a value": (STAYS, HEAD + b"X: \0\r\nContent-Length: 2\r\n\r\nok"),
    "CR in a value": (STAYS, HEAD + b"X: y\rSet-Cookie: a\r\nContent-Length: 2\r\n\r\nok"),
    "LF in a value": (STAYS, HEAD + b"X: y\nSet-Cookie: a\r\nContent-Length: 2\r\n\r\nok"),
    "escape in a value": (STAYS, HEAD + b"X: \x1b\r\nContent-Length: 2\r\n\r\nok"),
    "unasked switch": (STAYS, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    "many 1xx": (STAYS, b"HTTP/1.1 100 Continue\r\n\r\n" * 17),
    "1xx and no more": (ENDS, b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "doubtful 1xx": (STAYS, b"HTTP/1.1 103 Early Hints\r\nX : y\r\n\r\n" + OK),
}


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_bad_response(name: str) -> None:
    """A doubtful answer becomes a 502, its connection is closed, and the client's lives on."""
    ending, data = BAD_RESPONSES[name]
    for pieces in ways(data):
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1)
            first = path.upstream
            for piece in pieces:
                first.send(piece)
            if ending == ENDS:
                first.finish()
            elif ending == BREAKS:
                first.reset()
            got = client.take()
            answers = read_responses(got[got.index(b"HTTP/1.1 502") :], [b"GET"], False)
            assert [(answer[0], answer[3]) for answer in answers] == [(502, True)], pieces
            assert got.count(b"HTTP/1.1 ") == 1 + got.count(b"HTTP/1.1 103 "), pieces
            assert b"Set-Cookie" not in got
            assert first.lost is not None
            path.exchange(client, REQUEST % 2, OK)
            assert path.upstream is not first
            assert client.saw == OPEN


GOOD_RESPONSES: dict[str, tuple[bytes, str, bytes, bytes, bool]] = {
    # name: sent, what then becomes of the connection; then what the client got, and whether the connection is reused
    "length": (OK, STAYS, HEAD + b"Content-Length: 2\r\n\r\n", b"ok", True),
    "no body": (HEAD + b"Content-Length: 0\r\n\r\n", STAYS, HEAD + b"Content-Length: 0\r\n\r\n", b"", True),
    "surplus": (OK + b"HTTP/1.1 200 OK\r\n", STAYS, HEAD + b"Content-Length: 2\r\n\r\n", b"ok", False),
    "surplus after no body": (
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", STAYS, b"HTTP/1.1 204 No Content\r\n\r\n", b"", False
    ),
    "chunked": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nX-Trailer: z\r\n\r\n", STAYS,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"ok", True,
    ),
    "surplus after chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx", STAYS,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"ok", False,
    ),
    "until close": (HEAD + b"\r\nok", ENDS, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"ok", False),
    "until close, empty": (HEAD + b"\r\n", ENDS, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nok", ENDS, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"ok", False),
    "HTTP/1.0 with a length": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", STAYS, HEAD + b"Content-Length: 2\r\n\r\n", b"ok", False
    ),
    "HTTP/1.0 kept alive": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", STAYS,
        HEAD + b"Content-Length: 2\r\n\r\n", b"ok", True,
    ),
    "close": (
        HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", STAYS,
        HEAD + b"Content-Length: 2\r\n\r\n", b"ok", False,
    ),
    "nominated": (
        HEAD + b"Connection: x-y, content-length\r\nX-Y: 1\r\nX-Z: 2\r\nContent-Length: 2\r\n\r\nok", STAYS,
        HEAD + b"X-Z: 2\r\nContent-Length: 2\r\n\r\n", b"ok", True,
    ),
    "hop-by-hop": (
        HEAD + b"Keep-Alive: 5\r\nUpgrade: h2c\r\nTrailer: x\r\nX-Z: 2\r\nContent-Length: 2\r\n\r\nok", STAYS,
        HEAD + b"X-Z: 2\r\nContent-Length: 2\r\n\r\n", b"ok", True,
    ),
    "no reason": (
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", STAYS, b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", b"", True
    ),
    "100": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, STAYS, HEAD + b"Content-Length: 2\r\n\r\n", b"ok", True),
    "304": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", STAYS,
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", False,
    ),
    "103": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n" + OK, STAYS,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\n", b"ok", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_RESPONSES)
def test_good_response(name: str) -> None:
    """The client gets the same response in canonical framing, however the application spelled and cut it."""
    data, ending, head, body, reused = GOOD_RESPONSES[name]
    for pieces in ways(data):
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1)
            first = path.upstream
            for piece in pieces:
                first.send(piece)
            if ending == ENDS:
                first.finish()
            got = client.take()
            assert got.startswith(head), pieces
            final = got[got.rindex(b"HTTP/1.1 ") :]
            [(_, _, seen, complete)] = read_responses(final, [b"GET"], False)
            assert (seen, complete) == (body, True), pieces
            assert client.saw == OPEN
            path.network.settle()
            client.send(REQUEST % 2)
            assert (path.upstream is first) is reused, pieces
            path.upstream.send(OK)
            assert client.take() == OK


CUT_SHORT = {
    # name: sent, then how the connection ended; the client must see a response that is not complete
    "length": (HEAD + b"Content-Length: 5\r\n\r\nhell", ENDS),
    "length, no byte": (HEAD + b"Content-Length: 5\r\n\r\n", ENDS),
    "length, reset": (HEAD + b"Content-Length: 5\r\n\r\nhell", BREAKS),
    "chunked": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", ENDS),
    "chunked, last chunk unfinished": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", ENDS),
    "chunked, reset": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", BREAKS),
    "broken chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n", STAYS),
    "chunk size with a sign": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", STAYS),
    "chunk ended by LF": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", STAYS),
    "until close, reset": (HEAD + b"\r\nhello", BREAKS),
    "HTTP/1.0 until close, reset": (b"HTTP/1.0 200 OK\r\n\r\nhello", BREAKS),
}


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("name", CUT_SHORT)
def test_cut_short(name: str, version: int) -> None:
    """A response that the application cut short breaks the client's connection; it never looks complete."""
    data, ending = CUT_SHORT[name]
    for pieces in ways(data):
        with proxy() as path:
            client = path.client()
            client.send(b"GET / HTTP/1.%d\r\nHost: example.com\r\n\r\n" % version)
            upstream = path.upstream
            for piece in pieces:
                upstream.send(piece)
            if ending == ENDS:
                upstream.finish()
            elif ending == BREAKS:
                upstream.reset()
            assert client.saw == RESET, pieces
            assert upstream.lost is not None
            assert path.pool.open == 0
            # A reset is all that an HTTP/1.0 client may have to tell a cut from an end.
            answers = read_responses(client.take(), [b"GET"], True)
            assert version == 0 or not any(answer[3] for answer in answers), pieces
