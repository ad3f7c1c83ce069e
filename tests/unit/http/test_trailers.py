"""Trailers (RFC 9110 section 6.5): to whom they are passed on, and which of them."""

from __future__ import annotations

import pytest

from appliance.http.body import ChunkedReader
from tests.support.http2 import GET, POST, Client, headers, settings, window_update
from tests.support.proxying import proxy

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TRAILERS = b"grpc-status: 0\r\nDigest:  abc \r\nSet-Cookie: a=b\r\na_b: c\r\nContent-Length: 9\r\n"
ANSWER = HEAD + b"2\r\nok\r\n0\r\n" + TRAILERS + b"\r\n"
KEPT = [(b"grpc-status", b"0"), (b"digest", b"abc")]


def test_read_from_chunks() -> None:
    """A chunked body's trailers, whatever pieces they come in: names in lower case, without those that mislead."""
    for piece in (1, 5, 1000):
        reader = ChunkedReader()
        body = b"".join(reader.feed(ANSWER[at : at + piece]) for at in range(len(HEAD), len(ANSWER), piece))
        assert (body, reader.done, reader.trailers) == (b"ok", True, KEPT)


def test_from_http1_to_http2() -> None:
    """An HTTP/2 client gets the trailers of a chunked answer, after its body."""
    with proxy() as path:
        client = Client(path)
        client.send(headers(1, GET))
        path.upstream.send(ANSWER)
        assert client.read() == ["HEADERS 1 200", "DATA 1 2", "HEADERS 1 trailers end"]
        assert client.frames.fields[1][1] == KEPT


def test_without_body() -> None:
    """Trailers follow a head directly where there is no body."""
    with proxy() as path:
        client = Client(path)
        client.send(headers(1, GET))
        path.upstream.send(HEAD + b"0\r\nsum: 1\r\n\r\n")
        assert client.read() == ["HEADERS 1 200", "HEADERS 1 trailers end"]


def test_behind_shut_windows() -> None:
    """Trailers wait for the body that waits for the client."""
    with proxy() as path:
        client = Client(path, hello=settings((4, 1)))
        client.send(headers(1, GET))
        path.upstream.send(ANSWER)
        assert client.read() == ["HEADERS 1 200", "DATA 1 1"]
        assert client.ask(window_update(1, 10)) == ["DATA 1 1", "HEADERS 1 trailers end"]
        assert not client.connection.engine.streams


@pytest.mark.parametrize("asked", [b"TE: trailers\r\nConnection: TE\r\n", b"TE: gzip, trailers;q=1\r\n", b""])
def test_to_http1(asked: bytes) -> None:
    """An HTTP/1.1 client gets trailers if it said that it takes them; they are never its own connection's end."""
    with proxy() as path:
        client = path.client()
        request = b"GET / HTTP/1.1\r\nHost: example.com\r\n%b\r\n" % asked
        _, got = path.exchange(client, request, ANSWER)
        told = b"grpc-status: 0\r\ndigest: abc\r\n" if b" trailers\r\n" in asked else b""
        assert got == HEAD + b"2\r\nok\r\n0\r\n" + told + b"\r\n"
        assert b"trailers" not in path.exchange(client, request, ANSWER)[0]


def test_requests_to_http1() -> None:
    """Applications that speak HTTP/1.1 get no trailers: some take them for fields of the head."""
    with proxy() as path:
        client = Client(path)
        client.send(headers(1, POST, end=False) + headers(1, ((b"sum", b"1"),)))
        assert path.upstream.take().endswith(b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
