"""A client's HTTP/2 connection and its streams: requests to applications and back, flow control, time, endings."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.config import Backend, Limits, Timeouts
from appliance.http.http2credit import CONNECTION_WINDOW, STREAM_WINDOW
from appliance.http.message import RequestHead
from tests.support.http2 import (
    GET,
    POST,
    PREFACE,
    Client,
    Fields,
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
from tests.support.proxying import OK, TOKEN_PATH, proxy

LARGE = 3_000_000
LARGE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n"
WIDE = settings((4, 2**31 - 1)) + window_update(0, 2**31 - 1 - 65535)


def pattern(size: int) -> bytes:
    return bytes(n * 7 % 251 for n in range(997)) * (size // 997 + 1)


# --- requests and responses


def test_request_as_the_application_sees_it() -> None:
    """Pseudo fields become the request line and Host; the rest goes on as it is, with the appliance's own fields."""
    with proxy() as data_path:
        data_path.respond()
        client = Client(data_path)
        client.send(headers(1, (*changed(GET, path=b"/a?b=c"), (b"accept", b"*/*"), (b"x-forwarded-for", b"9.9.9.9"))))
        ((method, target, fields, body),) = data_path.applications[0].requests
        sent = dict(fields)
        assert (method, target, body) == (b"GET", b"/a?b=c", b"")
        assert sent[b"host"] == b"example.com"
        assert sent[b"accept"] == b"*/*"
        assert sent[b"x-forwarded-for"] == b"192.0.2.7"
        assert sent[b"x-forwarded-proto"] == b"https"
        client.read()
        assert client.frames.answer(1) == (200, b"ok", True)


def test_cookies_are_joined() -> None:
    """What the client split for its compression's sake is one field to the application (RFC 9113 section 8.2.3)."""
    with proxy() as data_path:
        data_path.respond()
        client = Client(data_path)
        client.send(headers(1, (*GET, (b"cookie", b"a=1"), (b"x", b"1"), (b"cookie", b"b=2"), (b"a_b", b"posing"))))
        fields = data_path.applications[0].requests[0][2]
        assert [value for name, value in fields if name == b"cookie"] == [b"a=1; b=2"]
        assert not [name for name, _ in fields if b"_" in name]


def test_response_as_the_client_sees_it() -> None:
    """Names in lower case, and nothing that concerns the upstream's connection alone."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1))
        data_path.upstream.send(
            b"HTTP/1.1 404 Nope\r\nX-Thing: Yes\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
            b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        )
        client.read()
        assert client.frames.fields[1] == [
            [(b":status", b"404"), (b"x-thing", b"Yes"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        ]
        assert client.frames.answer(1) == (404, b"hi", True)


def test_heads_without_content() -> None:
    """HEAD, 204 and 304 end with their HEADERS; the length that a GET would have had is told."""
    with proxy() as data_path:
        client = Client(data_path)
        for stream, method, response, length in (
            (1, b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n", b"42"),
            (3, b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
            (5, b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", b"7"),
            (7, b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"0"),
        ):
            client.send(headers(stream, changed(GET, method=method)))
            data_path.upstream.send(response)
            assert client.read() == [f"HEADERS {stream} {response[9:12].decode()} end"]
            assert dict(client.frames.fields[stream][0]).get(b"content-length") == length


def test_informational_responses() -> None:
    """103 is passed on, 100 is the appliance's own to say."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1))
        data_path.upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK)
        assert client.read() == ["HEADERS 1 103", "HEADERS 1 200", "DATA 1 2 end"]
        assert client.frames.fields[1][0] == [(b":status", b"103"), (b"link", b"</a.css>")]


def test_expectation() -> None:
    """A client that waits to be asked for its content is asked once the application is there."""
    with proxy() as data_path:
        client = Client(data_path)
        assert client.ask(headers(1, (*POST, (b"expect", b"100-continue")), False)) == ["HEADERS 1 100"]
        client.send(data(1, b"hello", end=True))
        data_path.upstream.send(OK)
        assert client.read()[0] == "HEADERS 1 200"
        assert b"expect" not in data_path.upstream.take().lower()


def test_content_of_unknown_length_is_chunked() -> None:
    """And of known length is not; trailers are dropped, as HTTP/1.1's are."""
    with proxy() as data_path:
        data_path.respond()
        client = Client(data_path)
        client.send(headers(1, POST, False) + data(1, b"hel") + data(1, b"lo") + headers(1, [(b"sum", b"1")]))
        client.send(headers(3, (*POST, (b"content-length", b"5")), False))
        client.send(data(3, b"hel"))
        client.send(data(3, b"lo", end=True))
        first, second = [request for each in data_path.applications for request in each.requests]
        assert first[3] == second[3] == b"hello"
        assert dict(first[2])[b"transfer-encoding"] == b"chunked"
        assert dict(second[2])[b"content-length"] == b"5"
        assert not [name for name, _ in first[2] if name == b"sum"]


def test_broken_content_never_begins_a_request() -> None:
    """Content that came with its head, and is not what was stated, costs no upstream."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, (*POST, (b"content-length", b"9")), False) + data(1, b"hello", end=True))
        assert data_path.network.dialled == []
        assert client.read() == ["RST_STREAM 1 PROTOCOL_ERROR"]


def test_content_that_breaks_off_later() -> None:
    """Content shorter or longer than stated ends the request upstream too."""
    with proxy() as data_path:
        client = Client(data_path)
        for stream, more in ((1, data(1, b"lo", end=True)), (3, data(3, b"lo, world, and more"))):
            client.send(headers(stream, (*POST, (b"content-length", b"9")), False) + data(stream, b"hel"))
            client.send(more)
            assert client.read() == [f"RST_STREAM {stream} PROTOCOL_ERROR"]
            assert data_path.upstream.saw == "reset"


@pytest.mark.parametrize("method", [GET, POST])
@pytest.mark.parametrize("later", [False, True])
def test_content_where_none_was_stated(method: Fields, later: bool) -> None:
    """It never reaches the application, to which it would be a request that nobody has looked at."""
    with proxy() as data_path:
        client = Client(data_path)
        head = headers(1, (*method, (b"content-length", b"0")), False)
        more = data(1, b"GET /admin HTTP/1.1\r\nHost: internal\r\n\r\n")
        for sent in (head, more) if later else (head + more,):
            client.send(sent)
        assert client.read() == ["RST_STREAM 1 PROTOCOL_ERROR"]
        assert not any(b"/admin" in application.take() for application in data_path.upstreams)
        assert data_path.pool.open == 0
        assert client.alive


def test_end_that_comes_late() -> None:
    """An answer before the end of a request that has no content, or all of it: the end is waited for, for a moment."""
    with proxy() as data_path:
        client = Client(data_path)
        for stream, length, content in ((1, b"0", b""), (3, b"5", data(3, b"hello"))):
            client.send(headers(stream, (*POST, (b"content-length", length)), False) + content)
            data_path.upstream.send(OK)
            assert client.read() == [f"HEADERS {stream} 200", f"DATA {stream} 2 end"]
            client.send(data(stream, end=True))
        assert client.read() == []
        assert client.alive
        assert not client.connection.engine.streams


def test_content_too_large() -> None:
    """Stated or not, content beyond the limit is answered with 413, and the client told to stop."""
    with proxy(limits=Limits(body_bytes=10)) as data_path:
        client = Client(data_path)
        stated = client.ask(headers(1, (*POST, (b"content-length", b"11")), False))
        client.send(headers(3, POST, False) + data(3, b"hello"))
        found = client.ask(data(3, b", world"))
        for stream, lines in ((1, stated), (3, found)):
            assert lines[0] == f"HEADERS {stream} 413"
            assert lines[-1] == f"RST_STREAM {stream} NO_ERROR"
        assert client.alive
        assert data_path.pool.open == 0


def test_answer_before_a_little_content_has_come() -> None:
    """It is waited for, for a moment: there are clients that take a reset for a failure, answered or not."""
    stated = (*POST, (b"content-length", b"5"))
    with proxy() as data_path:
        client = Client(data_path)
        for stream in (1, 3):
            client.send(headers(stream, stated, False) + data(stream, b"he"))
            data_path.upstream.send(OK)
            assert client.read() == [f"HEADERS {stream} 200", f"DATA {stream} 2 end"]
        client.send(data(1, b"llo", end=True))
        assert client.read() == []
        data_path.pass_time(1)
        assert client.read() == []
        data_path.pass_time(3)
        assert client.read() == ["RST_STREAM 3 NO_ERROR"]
        client.send(data(3, b"llo", end=True))
        assert client.alive
        client.send(headers(5, stated, False) + data(5, b"he"))
        data_path.upstream.send(OK)
        client.read()
        assert client.ask(data(5, b"llo, world", end=True)) == ["RST_STREAM 5 PROTOCOL_ERROR"]
        assert client.alive


def test_answer_before_the_content_has_come() -> None:
    """An application may answer without having read all: the answer is whole, then the client is told to stop."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, POST, False) + data(1, b"hello"))
        data_path.upstream.send(OK)
        assert client.read() == ["HEADERS 1 200", "DATA 1 2 end", "RST_STREAM 1 NO_ERROR"]
        client.send(data(1, b"more"))
        client.send(data(1, b"more", end=True))
        assert client.alive


def test_challenges_are_answered() -> None:
    """The CA may come by HTTP/2 too."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, changed(GET, path=TOKEN_PATH)))
        client.read()
        assert client.frames.answer(1) == (200, b"token.thumbprint", True)


def test_error_page_of_head() -> None:
    """An error answers HEAD without content."""
    with proxy() as data_path:
        client = Client(data_path)
        assert client.ask(headers(1, changed(GET, method=b"HEAD", authority=b"nobody.example"))) == [
            "HEADERS 1 404 end"
        ]


def test_application_that_is_not_there() -> None:
    """One that refuses connections is 502, on this stream only."""
    with proxy() as data_path:
        del data_path.network.listeners["127.0.0.1", 8000]
        client = Client(data_path)
        client.send(headers(1))
        data_path.pass_time(30)
        client.read()
        assert client.frames.answer(1)[0] == 502
        assert client.alive


def test_response_that_breaks_off() -> None:
    """What is not complete does not look complete."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1) + headers(3))
        first, second = data_path.upstreams
        first.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
        first.reset()
        second.send(OK)
        lines = client.read()
        assert "RST_STREAM 1 INTERNAL_ERROR" in lines
        assert 1 not in client.frames.ended
        assert client.frames.answer(3) == (200, b"ok", True)


def test_client_takes_a_request_back() -> None:
    """The application's connection of that request ends, no other."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1) + headers(3))
        client.send(rst_stream(1))
        first, second = data_path.upstreams
        assert first.saw == "reset"
        second.send(OK)
        client.read()
        assert client.frames.answer(3) == (200, b"ok", True)


def test_client_disappears() -> None:
    """All its requests end."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1) + headers(3, POST, False))
        client.peer.reset()
        assert [each.saw for each in data_path.upstreams] == ["reset", "reset"]
        assert len(data_path.deadlines) == 0


def test_same_block_again() -> None:
    """A block is remembered, the requests it makes are not: with and without content, answered in between."""
    with proxy() as data_path:
        data_path.respond()
        client = Client(data_path)
        for stream in range(1, 40, 4):
            client.send(headers(stream, POST) + headers(stream + 2, POST, False) + data(stream + 2, b"hi", end=True))
        bodies = [body for each in data_path.applications for *_, body in each.requests]
        assert sorted(bodies) == [b""] * 10 + [b"hi"] * 10


def test_many_uploads_in_one_read() -> None:
    """They begin in several turns; what came for those that wait is kept for them, and none is begun that was reset."""
    with proxy() as data_path:
        data_path.respond()
        client = Client(data_path)
        ids = range(1, 81, 2)
        client.send(b"".join(headers(n, POST, False) + data(n, b"%d" % n, end=True) for n in ids) + rst_stream(79))
        bodies = [body for each in data_path.applications for *_, body in each.requests]
        assert sorted(map(int, bodies)) == [n for n in ids if n != 79]


def test_stream_that_is_over_is_not_reset() -> None:
    """Whoever comes too late to reset a stream does nothing."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1))
        stream = client.connection.engine.streams[1]
        client.send(rst_stream(1))
        client.connection.engine.reset(stream, 0)
        assert client.ask(ping()) == ["PING 0 ack"]


def test_blocks_that_change_the_table() -> None:
    """The meaning of remembered blocks changes with the table."""
    with proxy() as data_path:
        data_path.respond()
        client = Client(data_path)
        one, two = (literal(GET) + b"\x40\x03x-v\x01" + value for value in (b"1", b"2"))
        again = literal(GET) + b"\xbe"
        for stream, block in ((1, one), (3, again), (5, again), (7, two), (9, again), (11, b"\x20" + again)):
            client.send(frame(1, 5, stream, block))
        values = [dict(fields)[b"x-v"] for each in data_path.applications for _, _, fields, _ in each.requests]
        assert values == [b"1", b"1", b"1", b"2", b"2"]
        assert client.read()[-1].startswith("GOAWAY 0 11 COMPRESSION"), "an entry is used that the resizing evicted"


# --- flow control


def test_large_response_within_windows() -> None:
    """Nothing beyond the windows is sent; what they let through comes whole and in order."""
    body = pattern(LARGE)[:LARGE]
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1))
        data_path.upstream.send(LARGE_HEAD + body)
        client.read()
        assert len(client.frames.bodies[1]) == 65535
        client.send(window_update(1, 10**9))
        client.read()
        assert len(client.frames.bodies[1]) == 65535, "the connection's window is shut still"
        for _ in range(60):
            client.send(window_update(0, 100_000))
            client.read()
        assert client.frames.answer(1) == (200, body, True)


def test_slow_stream_delays_nobody() -> None:
    """While one stream's window is shut, its application is held up, and the others are served."""
    with proxy() as data_path:
        client = Client(data_path, hello=settings((4, 1000)) + window_update(0, 2**30))
        client.send(headers(1))
        slow = data_path.upstream
        slow.send(LARGE_HEAD + bytes(LARGE))
        assert len(slow.outgoing) > LARGE - 200_000, "far more was read than anybody takes"
        for stream in range(3, 203, 2):
            client.send(headers(stream))
            data_path.upstream.send(OK)
            client.read()
            assert client.frames.answer(stream) == (200, b"ok", True)
        assert len(client.frames.bodies[1]) == 1000


def test_streams_take_turns() -> None:
    """Large answers share a slow connection frame by frame."""
    with proxy() as data_path:
        client = Client(data_path, hello=WIDE)
        client.send(headers(1) + headers(3) + headers(5))
        client.peer.capacity = 30_000
        for application in data_path.upstreams:
            application.send(LARGE_HEAD + bytes(LARGE))
        for _ in range(150):
            client.read()
        totals = {1: 0, 3: 0, 5: 0}
        for stream, size in client.frames.sizes:
            totals[stream] += size
            assert max(totals.values()) - min(totals.values()) <= 128 * 1024, "one is ahead by more than a read or two"
        assert min(totals.values()) > 1_000_000


def test_socket_that_is_full() -> None:
    """Applications wait while the client does not read, and all arrives once it does."""
    body = pattern(LARGE)[:LARGE]
    with proxy() as data_path:
        client = Client(data_path, hello=WIDE)
        client.send(headers(1))
        client.peer.capacity = 10_000
        data_path.upstream.send(LARGE_HEAD + body)
        assert len(data_path.upstream.outgoing) > LARGE - 400_000
        for _ in range(LARGE // 10_000 + 50):
            client.read()
        assert client.frames.answer(1) == (200, body, True)


def test_upload_within_windows() -> None:
    """What an application takes is offered to the client again, on the stream and on the connection."""
    with proxy() as data_path:
        client = Client(data_path)
        assert (client.frames.settings[4], client.frames.credit) == (STREAM_WINDOW, {0: CONNECTION_WINDOW - 65535})
        client.frames.credit.clear()
        client.send(headers(1, POST, False))
        sent = 0
        while sent < LARGE:
            client.send(data(1, bytes(16384)))
            sent += 16384
            client.read()
            assert sent <= STREAM_WINDOW + client.frames.credit.get(1, 0)
        client.send(data(1, end=True))
        data_path.upstream.send(OK)
        client.read()
        assert client.frames.answer(1)[0] == 200
        assert client.frames.credit[0] >= sent - CONNECTION_WINDOW // 2


def test_upload_to_an_application_that_does_not_read() -> None:
    """It gets the stream's window and no more; other uploads on the connection go on; then it is resumed."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, POST, False))
        slow = data_path.upstream
        slow.capacity = 0
        for _ in range(STREAM_WINDOW // 16384):
            client.send(data(1, bytes(16384)))
        client.read()
        assert client.frames.credit.get(1, 0) < STREAM_WINDOW
        given = client.frames.credit.get(1, 0)
        client.send(headers(3, POST, False))
        for _ in range(40):
            client.send(data(3, bytes(16384)))
            client.read()
        assert client.frames.credit[3] >= STREAM_WINDOW
        client.send(data(1, bytes(16384)) * (given // 16384) + data(1, b"x"))
        assert client.read() == ["RST_STREAM 1 FLOW_CONTROL_ERROR"]
        assert slow.saw == "reset"
        assert client.alive


def test_upload_resumes() -> None:
    """An application that reads on gets all there was, and the client more room."""
    body = pattern(STREAM_WINDOW)[:STREAM_WINDOW]
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, (*POST, (b"content-length", b"%d" % len(body))), False))
        slow = data_path.upstream
        slow.capacity = 0
        for at in range(0, len(body), 16384):
            client.send(data(1, body[at : at + 16384], end=at + 16384 >= len(body)))
        slow.capacity = float("inf")
        received = b"".join(slow.take() for _ in range(10))
        assert received.partition(b"\r\n\r\n")[2] == body


def test_initial_window_of_later_settings() -> None:
    """SETTINGS change the windows of streams that are open, below zero too (RFC 9113 section 6.9.2)."""
    with proxy() as data_path:
        client = Client(data_path, hello=settings((4, 100)))
        client.send(headers(1))
        data_path.upstream.send(LARGE_HEAD + bytes(1000))
        client.read()
        client.send(settings((4, 50)))
        client.read()
        assert len(client.frames.bodies[1]) == 100
        client.send(window_update(1, 49))
        client.read()
        assert len(client.frames.bodies[1]) == 100
        client.send(window_update(1, 2))
        client.read()
        assert len(client.frames.bodies[1]) == 101
        client.send(settings((4, 250)))
        client.read()
        assert len(client.frames.bodies[1]) == 301


def test_end_that_waits_for_a_window() -> None:
    """The end of an answer comes after what was pending, not before."""
    with proxy() as data_path:
        client = Client(data_path, hello=settings((4, 3)))
        client.send(headers(1))
        data_path.upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        data_path.upstream.send(b"0\r\n\r\n")
        assert client.read() == ["HEADERS 1 200", "DATA 1 3"]
        assert client.ask(window_update(1, 9)) == ["DATA 1 2", "DATA 1 0 end"]


def test_window_taken_back_while_the_socket_is_full() -> None:
    """A stream that waits for its turn, and has no window when that comes, is passed over."""
    with proxy() as data_path:
        client = Client(data_path, hello=settings((4, 100_000)) + window_update(0, 2**30))
        client.peer.capacity = 0
        client.send(headers(1) + headers(3))
        for application in data_path.upstreams:
            application.send(LARGE_HEAD + bytes(LARGE))
        client.send(settings((4, 0)))
        client.peer.capacity = float("inf")
        for _ in range(3):
            client.read()
        assert sum(len(body) for body in client.frames.bodies.values()) < 200_000
        client.send(settings((4, 100_000)))
        client.read()
        assert {stream: len(body) for stream, body in client.frames.bodies.items()} == {1: 100_000, 3: 100_000}


def test_connection_window_is_enforced() -> None:
    """Uploads to applications that do not read may fill the connection's window, not more."""
    with proxy() as data_path:
        client = Client(data_path)
        streams = range(1, 41, 2)
        client.send(b"".join(headers(stream, POST, False) for stream in streams))
        for application in data_path.upstreams:
            application.capacity = 0
        lines: list[str] = []
        for _ in range(15):
            lines += client.ask(b"".join(data(stream, bytes(16384)) for stream in streams))
        assert lines[-1] == "GOAWAY 0 39 FLOW_CONTROL_ERROR"


def test_credit_for_what_is_refused() -> None:
    """Content that is not taken, being too much or not what was stated, counts against no window for good."""
    wrong = (*POST, (b"content-length", b"1"))
    with proxy(limits=Limits(body_bytes=10_000)) as data_path:
        data_path.respond()
        client = Client(data_path)
        sent = 0
        for stream in range(1, 241, 2):
            client.send(headers(stream, POST if stream % 4 == 1 else wrong, False) + data(stream, bytes(16000)))
            sent += 16000
            client.read()
        assert client.alive
        assert sent - client.frames.credit[0] < 2**20 // 2


def upload(client: Client, stream: int, frames: int) -> None:
    """So many frames of 16 KiB, each in a read of its own."""
    for _ in range(frames):
        client.send(data(stream, bytes(16384)))


def test_slow_uploads_leave_room() -> None:
    """With three uploads that nobody takes filling most of the connection's window, the fourth goes on in the rest."""
    with proxy() as data_path:
        client = Client(data_path)
        for stream in (1, 3, 5):
            client.send(headers(stream, POST, False))
            data_path.upstream.capacity = 0
            upload(client, stream, 16)
        client.read()
        client.frames.credit.clear()
        client.send(headers(7, POST, False))
        left = CONNECTION_WINDOW - 3 * 16 * 16384
        for _ in range(200):
            assert left >= 16384
            upload(client, 7, 1)
            client.read()
            left += client.frames.credit.pop(0, 0) - 16384


def test_uploads_that_waited_for_a_connection() -> None:
    """What was held back of them is taken when it goes to the application, though nothing more comes."""
    with proxy(backend=Backend(try_for=5, max_connections=1)) as data_path:
        first, client = Client(data_path), Client(data_path)
        first.send(headers(1))
        client.send(headers(1, POST, False))
        upload(client, 1, 15)
        client.send(data(1, bytes(16384), end=True))
        assert client.connection.engine.streams[1].untaken == 16 * 16384
        data_path.upstream.send(OK)
        assert client.connection.engine.streams[1].untaken == 0


def test_credit_before_slow_uploads_fill_the_window() -> None:
    """What was taken is offered again while there is room to use it: more may never be taken."""
    with proxy() as data_path:
        client = Client(data_path)
        client.read()
        client.frames.credit.clear()
        client.send(headers(1, POST, False))
        upload(client, 1, 9)
        for stream in (3, 5, 7):
            client.send(headers(stream, POST, False))
            data_path.upstream.capacity = 0
            upload(client, stream, 14)
        client.read()
        assert client.frames.credit[0] >= 9 * 16384


# --- time


def test_time_for_the_first_request() -> None:
    """A connection that asks nothing ends, with a word."""
    with proxy() as data_path:
        for greet in (False, True):
            client = Client(data_path, greet=greet)
            data_path.pass_time(data_path.timeouts.header + 2)
            assert client.read()[-1] == "GOAWAY 0 0 NO_ERROR"
            assert client.peer.saw == "finished"


def test_idle_time() -> None:
    """PINGs do not keep a connection that asks nothing."""
    with proxy() as data_path:
        data_path.respond()
        client = Client(data_path)
        client.send(headers(1))
        for _ in range(4):
            data_path.pass_time(data_path.timeouts.idle / 4)
            client.send(ping())
        data_path.pass_time(2)
        assert client.read()[-1] == "GOAWAY 0 1 NO_ERROR"
        data_path.pass_time(10)
        assert client.peer.saw in ("finished", "reset")
        assert len(data_path.deadlines) == data_path.pool.open


def test_client_that_is_silent_while_it_waits() -> None:
    """With a request under way it is asked by PING whether it lives; the answer keeps it, silence does not."""
    with proxy(timeouts=Timeouts(first_byte=10_000)) as data_path:
        client = Client(data_path)
        client.send(headers(1))
        asked = 0
        for _ in range(300):
            data_path.pass_time(1)
            if "PING 0" in client.read():
                asked += 1
                client.send(ping(b"alive?\0\0", flags=1))
        assert asked == 3
        data_path.pass_time(data_path.timeouts.idle * 2 + 15)
        assert client.peer.saw == "reset"
        assert data_path.upstream.saw == "reset"


def test_content_that_stops() -> None:
    """It has its time: 408 if nothing was answered, else the stream ends."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, POST, False) + data(1, b"hello"))
        client.send(headers(3, POST, False) + data(3, b"hello"))
        data_path.upstreams[1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
        data_path.pass_time(30)
        data_path.upstreams[1].send(b"k")
        data_path.pass_time(data_path.timeouts.body - 28)
        lines = client.read()
        assert client.frames.answer(1)[0] == 408
        assert "RST_STREAM 3 CANCEL" in lines
        assert data_path.pool.open == 0


def test_content_that_trickles() -> None:
    """A byte now and then is not enough."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, POST, False))
        for _ in range(70):
            client.send(data(1, b"x"))
            data_path.pass_time(1)
        client.read()
        assert client.frames.answer(1)[0] == 408


def test_slow_application_is_not_the_clients_fault() -> None:
    """While the upstream does not take the content, the client's time stands still."""
    with proxy(timeouts=Timeouts(connect=500)) as data_path:
        data_path.network.silent.add(("127.0.0.1", 8000))
        client = Client(data_path)
        client.send(headers(1, POST, False) + data(1, b"hello"))
        data_path.pass_time(70)
        assert client.alive


def test_slow_reader_that_moves() -> None:
    """A client that takes a little now and then keeps its answer; so does one whose window opens slowly."""
    with proxy() as data_path:
        client = Client(data_path, hello=settings((4, 1)))
        client.send(headers(1))
        data_path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + bytes(200))
        for _ in range(10):
            data_path.pass_time(data_path.timeouts.body - 5)
            client.send(window_update(1, 1))
        assert client.alive
        assert len(client.frames.bodies[1]) == 11


def test_full_socket_that_moves() -> None:
    """Slow is not dead, on the connection as on a stream."""
    with proxy() as data_path:
        client = Client(data_path, hello=WIDE)
        client.send(headers(1))
        client.peer.capacity = 10_000
        data_path.upstream.send(LARGE_HEAD + bytes(LARGE))
        for _ in range(10):
            data_path.pass_time(data_path.timeouts.body - 5)
            client.read()
            assert client.peer.saw == "open"
        data_path.pass_time(2 * data_path.timeouts.body + 5)
        assert client.peer.saw == "reset"


# --- endings


def test_drain() -> None:
    """Told first, a request that was on its way is still served; a later one is not; then the connection ends."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1))
        client.connection.drain()
        client.connection.drain()
        data_path.network.settle()
        lines = client.read()
        assert lines == ["GOAWAY 0 2147483647 NO_ERROR", "PING 0"]
        client.send(headers(3))
        client.send(ping(b"drained\0", flags=1))
        assert client.read() == ["GOAWAY 0 3 NO_ERROR"]
        client.send(headers(5) + data(5, b"x"))
        for application in data_path.upstreams:
            application.send(OK)
        client.read()
        assert client.frames.answer(1) == client.frames.answer(3) == (200, b"ok", True)
        assert 5 not in client.frames.fields
        assert client.peer.saw == "finished"


def test_drain_of_a_client_that_says_nothing() -> None:
    """Answers are finished, then the connection ends without the client's word."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1))
        client.connection.drain()
        data_path.upstream.send(OK)
        lines = client.read()
        assert lines[-1] == "GOAWAY 0 1 NO_ERROR"
        assert client.peer.saw == "finished"


def test_drain_of_an_idle_connection() -> None:
    """It ends at once."""
    with proxy() as data_path:
        client = Client(data_path)
        client.connection.drain()
        data_path.network.settle()
        assert client.read() == ["GOAWAY 0 0 NO_ERROR"]
        assert client.peer.saw == "finished"


def test_retirement_of_an_idle_connection() -> None:
    """It is told; what was on its way by then is served; it ends with the client's knowledge."""
    with proxy() as data_path:
        client = Client(data_path)
        client.connection.retire()
        client.connection.retire()
        data_path.network.settle()
        assert client.read() == ["GOAWAY 0 2147483647 NO_ERROR", "PING 0"]
        client.send(headers(1))
        client.send(ping(b"drained\0", flags=1))
        data_path.upstream.send(OK)
        assert "GOAWAY 0 1 NO_ERROR" in client.read()
        assert client.frames.answer(1) == (200, b"ok", True)
        assert client.peer.saw == "finished"


def test_cut_off() -> None:
    """At once, whatever is under way."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1))
        client.connection.abort()
        data_path.network.settle()
        assert client.peer.saw == "reset"


def test_number_of_requests() -> None:
    """After so many the connection is ended as by draining."""
    with proxy(limits=Limits(requests_per_connection=3)) as data_path:
        data_path.respond()
        client = Client(data_path)
        assert not client.connection.resting
        for stream in (1, 3):
            client.send(headers(stream))
            assert client.connection.resting
        assert client.alive
        lines = client.ask(headers(5))
        assert "GOAWAY 0 2147483647 NO_ERROR" in lines
        assert lines[-1] == "GOAWAY 0 5 NO_ERROR"
        assert client.frames.answer(5)[0] == 200
        assert client.peer.saw == "finished"


def test_client_that_leaves() -> None:
    """After GOAWAY it gets its answers, then the connection ends."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1) + frame(7, 0, 0, bytes(8)))
        assert client.alive
        data_path.upstream.send(OK)
        client.read()
        assert client.frames.answer(1)[0] == 200
        assert client.peer.saw == "finished"
        other = Client(data_path)
        other.send(frame(7, 0, 0, bytes(8)))
        assert other.peer.saw == "finished"


def test_something_else_than_http2() -> None:
    """Bytes that are no preface end the connection, at the first that differs."""
    with proxy() as data_path:
        for sent in (b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", PREFACE + ping()):
            client = Client(data_path, greet=False)
            client.send(sent)
            assert client.read()[-1] == "GOAWAY 0 0 PROTOCOL_ERROR"
            assert client.peer.saw == "finished"


def test_fault_with_requests_under_way() -> None:
    """They end with it; what is sent afterwards is not looked at."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1) + headers(3, POST, False))
        client.send(data(0, b"x") + headers(5))
        client.send(headers(7))
        assert client.read()[-1] == "GOAWAY 0 3 PROTOCOL_ERROR"
        assert [each.saw for each in data_path.upstreams] == ["reset", "reset"]


def test_fault_while_a_read_is_under_way_forgets_all() -> None:
    """Streams that the same read opened are not begun."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1) + headers(3, POST, False) + data(3, b"x") + data(0, b"x"))
        assert data_path.network.dialled == []
        assert not client.connection.engine.streams


def test_fault_after_the_end_was_announced() -> None:
    """The last stream that GOAWAY names never rises."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1))
        client.connection.drain()
        client.send(ping(b"drained\0", flags=1))
        client.read()
        client.send(headers(3) + data(0, b"x"))
        assert client.read()[-1] == "GOAWAY 0 1 PROTOCOL_ERROR"


def test_number_of_requests_with_one_under_way() -> None:
    """It is served, and the connection ends after it."""
    with proxy(limits=Limits(requests_per_connection=2)) as data_path:
        client = Client(data_path)
        client.send(headers(1) + headers(3))
        assert "GOAWAY 0 2147483647 NO_ERROR" in client.read()
        for application in data_path.upstreams:
            application.send(OK)
        assert client.read()[-1] == "GOAWAY 0 3 NO_ERROR"
        assert client.frames.answer(3) == (200, b"ok", True)
        assert client.peer.saw == "finished"


# --- who watches


class Watching:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.begun = 0
        self.requests: list[RequestHead] = []
        self.ended: list[tuple[int, int, int, bool]] = []
        self.methods: list[bytes] = []

    def end(self, request: RequestHead, client: Any, now: float, whole: bool) -> None:
        self.requests.append(request)
        self.ended.append((request.status, request.bytes_in, request.bytes_out, whole))
        self.methods.append(request.method)

    def handshake_completed(self, version: str) -> None:
        raise AssertionError("it was over before")

    def handshake_failed(self, reason: BaseException | None) -> None:
        raise AssertionError("it was over before")


def test_observed() -> None:
    """Every request is told of, once as it begins and once as it ends, however it ends."""
    watching: Any = Watching()
    with proxy() as data_path:
        client = Client(data_path, observer=watching)
        client.send(headers(1, POST, False) + data(1, b"hello", end=True))
        data_path.upstream.send(OK)
        client.send(headers(3) + headers(5, changed(GET, method=b"FROB")) + headers(7, POST, False))
        client.send(rst_stream(3))
        data_path.upstreams[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel")
        client.peer.reset()
    assert watching.ended == [
        (200, 5, 2, True),
        (501, 0, watching.ended[1][2], True),
        (0, 0, 0, False),
        (200, 0, 3, False),
    ]
    assert watching.methods == [b"POST", b"", b"GET", b"POST"]
    assert watching.requests[0].site == "example.com"
    assert sorted(request.number for request in watching.requests) == [1, 2, 3, 4]
    assert watching.begun == 4


def test_taken_back_before_it_began() -> None:
    """A request that was reset in the read that brought it was none: it is not told of."""
    watching: Any = Watching()
    with proxy() as data_path:
        client = Client(data_path, observer=watching)
        client.send(headers(1) + rst_stream(1))
        assert client.alive
    assert (watching.begun, watching.ended) == (0, [])
