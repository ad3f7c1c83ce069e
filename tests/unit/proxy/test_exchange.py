"""One proxied request from start to end, as a conversation of the client, the appliance and the application."""

from __future__ import annotations

import pytest

from appliance.config import Timeouts
from tests.support.proxying import OK, REQUEST, Proxy, proxy, read_responses
from tests.support.transports import FINISHED, OPEN, RESET, Peer

POST = b"POST / HTTP/1.1\r\nHost: example.com\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: example.com\r\n\r\n"
CHUNKED_POST = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NOT_REPLAYED = {
    "POST": POST + b"Content-Length: 0\r\n\r\n",
    "PATCH": b"PATCH / HTTP/1.1\r\nHost: example.com\r\n\r\n",
    "PUT with a body": b"PUT / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nhi",
    "GET with a body": b"GET / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nhi",
    "upgrade": b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
}


def body_of(received: bytes) -> bytes:
    """What follows the head."""
    return received.partition(b"\r\n\r\n")[2]


def queued(peer: Peer) -> int:
    """How much the appliance holds for a peer that does not read."""
    return len(peer.transport.dataBuffer) + int(peer.transport._tempDataLen)


def status(data: bytes, method: bytes = b"GET") -> int:
    """Of the one complete answer."""
    [(code, _, _, complete)] = read_responses(data, [method], True)
    assert complete
    return int(code)


class TestRequestBodies:
    def test_length(self) -> None:
        """A body of known length is passed on as it comes, under the same length."""
        with proxy() as path:
            client = path.client()
            client.send(POST + b"Content-Length: 8\r\n\r\n")
            received = path.upstream.take()
            assert received.endswith(b"Content-Length: 8\r\n\r\n")
            for piece in (b"abc", b"def", b"gh"):
                client.send(piece)
                assert path.upstream.take() == piece
            path.upstream.send(OK)
            assert client.take() == OK

    def test_chunked(self) -> None:
        """A chunked body is framed afresh: its chunks are ours, without extensions and trailers."""
        with proxy() as path:
            client = path.client()
            client.send(CHUNKED_POST)
            assert path.upstream.take().endswith(b"Transfer-Encoding: chunked\r\n\r\n")
            client.send(b"3;x=y\r\nab")
            client.send(b"c\r\n3\r\ndef\r\n")
            assert path.upstream.take() == b"2\r\nab\r\n4\r\ncdef\r\n"
            client.send(b"0\r\nX-Trailer: z\r\n\r\n")
            assert path.upstream.take() == b"0\r\n\r\n"
            path.upstream.send(OK)
            assert client.take() == OK

    @pytest.mark.parametrize(
        ("sent", "body"),
        [
            (POST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
            (CHUNKED_POST + b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
            (CHUNKED_POST + b"0\r\n\r\n", b"0\r\n\r\n"),
            (CHUNKED_POST + b"2\r\nhe\r\n3\r\nllo\r\n", b"5\r\nhello\r\n"),
        ],
    )
    def test_comes_with_its_head(self, sent: bytes, body: bytes) -> None:
        """What came of a body before the application was there is sent with the head."""
        with proxy() as path:
            client = path.client()
            client.send(sent)
            assert body_of(path.upstream.take()) == body
            path.upstream.send(OK)
            assert client.take().startswith(b"HTTP/1.1 200 ")

    def test_followed_by_a_request(self) -> None:
        """What follows a body is the next request, which waits for its turn."""
        with proxy() as path:
            client = path.client()
            client.send(POST + b"Content-Length: 5\r\n\r\nhel")
            client.send(b"lo" + REQUEST % 2)
            assert body_of(path.upstream.take()) == b"hello"
            path.upstream.send(OK)
            assert path.upstream.take().startswith(b"GET /2 ")
            assert client.take() == OK

    def test_application_does_not_read(self) -> None:
        """While the application takes nothing the client is not read from: 10 MB leave one read in memory."""
        with proxy() as path:
            path.network.listeners["127.0.0.1", 8000] = lambda peer: slow(path, peer)
            client = path.client()
            client.send(POST + b"Content-Length: 10000000\r\n\r\n")
            for _ in range(10):
                client.send(b"x" * 1_000_000)
            upstream = path.upstream
            assert queued(upstream) < 200_000
            assert len(client.outgoing) > 9_800_000
            # It reads on in pieces, and gets it all.
            while client.outgoing or upstream.incoming:
                upstream.take()
                assert queued(upstream) < 200_000
            upstream.send(OK)
            assert client.take() == OK
            assert body_length(upstream) == 10_000_000

    def test_application_does_not_read_what_came_before_it(self) -> None:
        """The same from the first byte on: what came with the head may be more than the application takes."""
        with proxy() as path:
            path.network.listeners["127.0.0.1", 8000] = lambda peer: slow(path, peer)
            client = path.client()
            client.piece = 100_000
            client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
            assert queued(path.upstream) < 200_000
            assert len(client.outgoing) > 800_000
            while client.outgoing or path.upstream.incoming:
                path.upstream.take()
            assert body_length(path.upstream) == 1_000_000

    def test_waits_for_the_application(self) -> None:
        """While the application is connected to, one read's worth of the body is taken and no more."""
        with proxy(timeouts=Timeouts(connect=5)) as path:
            path.network.silent.add(("127.0.0.1", 8000))
            client = path.client()
            client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
            assert len(client.outgoing) > 900_000
            path.pass_time(6)
            assert status(client.take()) == 502


def slow(path: Proxy, peer: Peer) -> None:
    """An application whose socket holds 100 KB."""
    peer.capacity = 100_000
    path.upstreams.append(peer)


def body_length(upstream: Peer) -> int:
    """The length of the one body the application got, whose head was about 300 bytes."""
    return upstream.total - upstream.total % 1000


class TestResponseBodies:
    def test_streams(self) -> None:
        """Every event of a stream reaches the client at once, the head first of all."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1)
            path.upstream.send(CHUNKED_OK)
            assert client.take() == CHUNKED_OK
            for event in (b"data: 1\n\n", b"data: 2\n\n"):
                path.upstream.send(b"%x\r\n%b\r\n" % (len(event), event))
                assert client.take() == b"%x\r\n%b\r\n" % (len(event), event)
            path.upstream.send(b"0\r\n\r\n")
            assert client.take() == b"0\r\n\r\n"
            assert path.pool.idle == 1

    def test_one_write(self) -> None:
        """A response that comes in one piece leaves in one piece, framing and all."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1)
            written: list[bytes] = []
            client.transport.write = written.append
            path.upstream.send(CHUNKED_OK + b"2\r\nok\r\n0\r\n\r\n")
            assert written == [CHUNKED_OK + b"2\r\nok\r\n0\r\n\r\n"]

    @pytest.mark.parametrize("ending", [b"", b"0\r\n\r\n"])
    def test_large(self, ending: bytes) -> None:
        """A large piece is not copied only to go out with its head."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1)
            path.upstream.send(CHUNKED_OK + b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000) + ending)
            assert client.take() == CHUNKED_OK + b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000) + ending

    def test_client_does_not_read(self) -> None:
        """While the client takes nothing the application is not read from: 10 MB leave one read in memory."""
        with proxy() as path:
            client = path.client()
            client.capacity = 10_000
            client.send(REQUEST % 1)
            upstream = path.upstream
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10_000_000)
            assert queued(client) < 200_000
            assert len(upstream.outgoing) > 9_800_000
            path.pass_time(40)
            client.capacity = 100_000
            while upstream.outgoing or client.incoming:
                client.take()
                assert queued(client) < 200_000
            assert client.total == 10_000_000 + len(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
            assert (client.saw, path.pool.idle) == (OPEN, 1)
            # And the connection to the application reads again for the next request.
            assert path.exchange(client, REQUEST % 2, OK)[1] == OK
            assert path.upstream is upstream

    def test_both_ways(self) -> None:
        """An application may answer while it reads: both bodies stream, and neither waits for the other."""
        with proxy() as path:
            client = path.client()
            client.send(CHUNKED_POST)
            path.upstream.take()
            path.upstream.send(CHUNKED_OK)
            for number in range(5):
                client.send(b"1\r\n%d\r\n" % number)
                assert path.upstream.take() == b"1\r\n%d\r\n" % number
                path.upstream.send(b"1\r\n%d\r\n" % number)
                assert b"1\r\n%d\r\n" % number in client.take()
            client.send(b"0\r\n\r\n")
            path.upstream.send(b"0\r\n\r\n")
            assert client.take() == b"0\r\n\r\n"
            # The answer had begun before the request was whole, so this is the last one, and the head has said so.
            assert client.saw == FINISHED

    def test_both_ways_stalled(self) -> None:
        """A client that sends on and on and reads nothing is cut off, although its upload moves."""
        with proxy(timeouts=Timeouts(body=10)) as path:
            client = path.client()
            client.capacity = 0
            client.send(POST + b"Content-Length: 70000\r\n\r\n")
            path.upstream.send(CHUNKED_OK + b"%x\r\n%b\r\n" % (200_000, b"x" * 200_000))
            client.send(b"x" * 70_000)
            path.pass_time(25)
            assert client.saw == RESET
            assert path.upstream.saw == RESET

    @pytest.mark.parametrize(
        ("response", "reused"),
        [
            (OK.replace(b"ok", b""), False),
            (b"HTTP/1.1 200 OK\r\n\r\n", False),
            (CHUNKED_OK, False),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        ],
    )
    def test_head(self, response: bytes, reused: bool) -> None:
        """The answer to a HEAD is its head; the client's connection goes on, the other if no body can follow."""
        with proxy() as path:
            client = path.client()
            _, got = path.exchange(client, HEAD, response)
            lines = response.replace(b"Transfer-Encoding: chunked\r\n", b"")
            assert got == lines
            assert path.exchange(client, REQUEST % 1, OK)[1] == OK
            assert (len(path.upstreams) == 1) is reused

    @pytest.mark.parametrize(
        ("request_", "status"),
        [(HEAD, b"200 OK"), (REQUEST % 1, b"204 No Content"), (REQUEST % 1, b"304 Not Modified")],
    )
    @pytest.mark.parametrize("framing", [b"Content-Length: 40", b"Transfer-Encoding: chunked"])
    def test_body_that_must_not_be(self, request_: bytes, status: bytes, framing: bytes) -> None:
        """Some applications send one, a moment later. It is nobody's answer, least of all another client's."""
        with proxy() as path:
            first, second = path.client(), path.client("198.51.100.7")
            first.send(request_)
            application = path.upstream
            application.send(b"HTTP/1.1 %b\r\n%b\r\n\r\n" % (status, framing))
            assert first.take().startswith(b"HTTP/1.1 %b\r\n" % status)
            second.send(REQUEST % 2)
            application.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            assert second.take() == b""
            path.upstream.send(OK)
            assert second.take() == OK

    @pytest.mark.parametrize("code", [b"204 No Content", b"304 Not Modified"])
    def test_statuses_without_a_body(self, code: bytes) -> None:
        """204 and 304 end with their head."""
        with proxy() as path:
            client = path.client()
            response = b"HTTP/1.1 %b\r\nETag: x\r\n\r\n" % code
            assert path.exchange(client, REQUEST % 1, response)[1] == response
            assert path.exchange(client, REQUEST % 2, OK)[1] == OK
            assert len(path.upstreams) == 1


class TestFailures:
    def test_refused(self) -> None:
        """An application that is not there is 502, and the client's connection goes on."""
        with proxy() as path:
            accept = path.network.listeners.pop(("127.0.0.1", 8000))
            client = path.client()
            client.send(REQUEST % 1)
            assert status(client.take()) == 502
            path.network.listeners["127.0.0.1", 8000] = accept
            assert path.exchange(client, REQUEST % 2, OK)[1] == OK

    def test_closed_before_any_answer(self) -> None:
        """A new connection that is closed without an answer is 502, not tried again."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1)
            path.upstream.finish()
            assert status(client.take()) == 502
            assert len(path.network.dialled) == 1

    @pytest.mark.parametrize("ending", [Peer.finish, Peer.reset])
    @pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT"])
    def test_replayed_once(self, method: bytes, ending: object) -> None:
        """On a reused connection it may have been closed while idle: a safe request is sent once more, on a new one."""
        with proxy() as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            first = path.upstream
            client.send((REQUEST % 2).replace(b"GET", method))
            received = first.take()
            assert received
            ending(first)  # type: ignore[operator]
            assert path.upstream is not first
            assert path.upstream.take() == received
            path.upstream.finish()
            assert status(client.take(), method) == 502
            assert len(path.network.dialled) == 2

    def test_replay_succeeds(self) -> None:
        """And its answer is the client's, who notices nothing."""
        with proxy() as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            client.send(REQUEST % 2)
            path.upstream.finish()
            path.upstream.send(OK)
            assert client.take() == OK

    @pytest.mark.parametrize("name", NOT_REPLAYED)
    def test_never_replayed(self, name: str) -> None:
        """What could happen twice is not sent twice: 502."""
        with proxy() as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            client.send(NOT_REPLAYED[name])
            assert path.upstream.take()
            path.upstream.finish()
            assert status(client.take()) == 502
            assert len(path.network.dialled) == 1

    @pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
    def test_not_replayed_once_an_answer_began(self, begun: bytes) -> None:
        """A single byte of an answer shows that the application had the request."""
        with proxy() as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            client.send(REQUEST % 2)
            path.upstream.send(begun)
            path.upstream.finish()
            got = client.take()
            assert status(got[got.index(b"HTTP/1.1 502") :]) == 502
            assert len(path.network.dialled) == 1

    def test_connect_time(self) -> None:
        """An application that does not accept is given up after a while."""
        with proxy(timeouts=Timeouts(connect=5)) as path:
            path.network.silent.add(("127.0.0.1", 8000))
            client = path.client()
            client.send(REQUEST % 1)
            path.pass_time(4)
            assert client.take() == b""
            path.pass_time(2)
            assert status(client.take()) == 502
            assert client.saw == OPEN

    @pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX: "])
    def test_first_byte_time(self, begun: bytes) -> None:
        """One that does not answer is 504; half a head is no answer. The time runs from the end of the request."""
        with proxy(timeouts=Timeouts(first_byte=30, body=60)) as path:
            client = path.client()
            client.send(POST + b"Content-Length: 4\r\n\r\nha")
            path.pass_time(50)
            assert client.take() == b""
            client.send(b"lf")
            path.pass_time(29)
            path.upstream.send(begun)
            assert client.take() == b""
            path.pass_time(3)
            assert status(client.take()) == 504
            assert path.upstream.saw == RESET
            assert client.saw == OPEN

    def test_silence_within_the_body(self) -> None:
        """One that stops in the middle of its body breaks the client's connection; one that drips does not."""
        with proxy(timeouts=Timeouts(body=30)) as path:
            client = path.client()
            client.send(REQUEST % 1)
            path.upstream.send(CHUNKED_OK)
            for _ in range(5):
                path.pass_time(29)
                path.upstream.send(b"1\r\nx\r\n")
            assert client.saw == OPEN
            path.pass_time(32)
            assert client.saw == RESET
            assert b"0\r\n\r\n" not in client.take()

    def test_takes_nothing_of_the_body(self) -> None:
        """One that takes nothing of an upload is 504; one that takes a little lives on."""
        with proxy(timeouts=Timeouts(body=30)) as path:
            path.network.listeners["127.0.0.1", 8000] = lambda peer: slow(path, peer)
            client = path.client()
            client.send(POST + b"Content-Length: 10000000\r\n\r\n" + b"x" * 1_000_000)
            for _ in range(5):
                path.pass_time(25)
                path.upstream.read(100)
            assert client.take() == b""
            path.pass_time(62)
            assert status(client.take()) == 504
            assert path.upstream.saw == RESET

    def test_gone_within_an_upload(self) -> None:
        """One that breaks off an upload is 502, and what the client still sends is dropped until it has seen that."""
        with proxy() as path:
            client = path.client()
            client.send(POST + b"Content-Length: 100\r\n\r\nhalf")
            path.upstream.reset()
            assert status(client.take()) == 502
            client.send(b"x" * 50)
            assert (bytes(client.outgoing), client.saw) == (b"", FINISHED)

    def test_early_answer_closes_the_upload(self) -> None:
        """An answer before the request's end: complete for the client, and neither connection is used again."""
        with proxy() as path:
            client = path.client()
            client.send(POST + b"Content-Length: 100\r\n\r\nhalf")
            path.upstream.send(OK)
            assert status(client.take()) == 200
            assert path.upstream.saw == RESET
            assert client.saw == FINISHED
            assert path.pool.open == 0
