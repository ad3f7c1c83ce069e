"""Of every request it is told what became of it, whatever that was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from appliance.config import Limits, Timeouts
from appliance.http.message import RequestHead
from tests.support.observed import keeping
from tests.support.proxying import OK, REQUEST, TOKEN_PATH, Proxy, proxy

GET = b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: example.com\r\n"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextmanager
def watched(limits: Limits = Limits(), timeouts: Timeouts = Timeouts()) -> Iterator[tuple[Proxy, list[RequestHead]]]:  # noqa: B008
    """A data path, and what became of the requests that went over it."""
    told: list[RequestHead] = []

    with proxy(limits=limits, timeouts=timeouts) as path:
        path.observer = observer = keeping(told)
        yield path, told
        assert observer.in_flight == 0


def test_a_proxied_request() -> None:
    """Who asked what of which site, what answered it, with which status and how many bytes, and when."""
    with watched() as (path, told):
        client = path.client("192.0.2.7")
        path.pass_time(1)
        client.send(POST + b"Content-Length: 3\r\n\r\nabc")
        path.pass_time(2)
        path.upstream.send(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nab")
        path.pass_time(3)
        assert told == []
        path.upstream.send(b"cd")
        (one,) = told
        assert (one.method, one.target) == (b"POST", b"/")
        assert (one.client.client, one.site, one.upstream) == ("192.0.2.7", "example.com", "http://127.0.0.1:8000")
        assert (one.status, one.bytes_in, one.bytes_out) == (201, 3, 4)
        assert (one.started, one.sent, one.answered, one.ended) == (1, 1, 3, 6)
        assert one.fault == ""


def test_requests_of_one_connection() -> None:
    """Each its own, pipelined ones too; chunks count without their framing, heads not at all."""
    with watched() as (path, told):
        path.respond(CHUNKED_OK + b"2\r\nok\r\n3\r\nok.\r\n0\r\n\r\n")
        client = path.client()
        client.send(REQUEST % 1 + REQUEST % 2)
        assert [one.target for one in told] == [b"/1", b"/2"]
        assert [one.bytes_out for one in told] == [5, 5]
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        assert told[2].bytes_in == 4


def test_one_last_chunk() -> None:
    """A piece that goes out in one write with the end of the body counts without its framing, too."""
    with watched() as (path, told):
        path.exchange(path.client(), GET, CHUNKED_OK + b"2\r\nok\r\n0\r\n\r\n")
        assert [one.bytes_out for one in told] == [2]


def test_answered_on_the_spot() -> None:
    """A challenge and an unknown host have no upstream, and the latter no site."""
    with watched() as (path, told):
        client = path.client()
        client.send(b"GET %b HTTP/1.1\r\nHost: example.com\r\n\r\n" % TOKEN_PATH)
        client.send(b"GET / HTTP/1.1\r\nHost: unknown.example\r\n\r\n")
        assert [(one.status, one.site, one.upstream) for one in told] == [(200, "", ""), (404, "", "")]
        assert all(one.fault == "" for one in told)


def test_no_request_at_all() -> None:
    """What could not be read is told of, without a method; the time for a head that never ends as well."""
    with watched(timeouts=Timeouts(header=3)) as (path, told):
        path.client().send(b"nonsense\r\n\r\n")
        assert [(one.method, one.status) for one in told] == [(b"", 400)]
        slow = path.client()
        slow.send(b"GET / HT")
        path.pass_time(5)
        assert [(one.method, one.status) for one in told[1:]] == [(b"", 408)]


def test_refused_body() -> None:
    """A request that is refused for its body keeps what is known of it."""
    with watched(limits=Limits(body_bytes=3)) as (path, told):
        path.client().send(POST + b"Content-Length: 4\r\n\r\nbody")
        path.client().send(POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        assert [(one.status, one.fault) for one in told] == [(413, ""), (413, "")]
        assert [one.method for one in told] == [b"POST", b"POST"]


def test_nobody_answers() -> None:
    """An application that closes instead of answering: 502, and where it failed."""
    with watched() as (path, told):
        client = path.client()
        client.send(POST + b"Content-Length: 0\r\n\r\n")
        path.upstream.finish()
        (one,) = told
        assert (one.status, one.fault, one.upstream) == (502, "head", "http://127.0.0.1:8000")


def test_broken_off_by_the_application() -> None:
    """The status that was sent stays; that it ended too early is the application's fault."""
    with watched() as (path, told):
        client = path.client()
        client.send(GET)
        path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        path.upstream.finish()
        (one,) = told
        assert (one.status, one.fault, one.bytes_out) == (200, "body", 3)


def test_broken_off_by_the_client() -> None:
    """A client that goes away before it was answered leaves a 499; within the response, the response's status."""
    with watched() as (path, told):
        client = path.client()
        client.send(GET)
        client.reset()
        client = path.client()
        client.send(GET)
        path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        client.reset()
        assert [(one.status, one.fault) for one in told] == [
            (499, "client"),
            (200, "client"),
        ]


def test_tunnels() -> None:
    """A tunnel is told of at its end, with what went through it."""
    with watched() as (path, told):
        client = path.client()
        client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        path.upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        client.send(b"12345")
        path.upstream.send(b"123")
        path.pass_time(7)
        assert told == []
        client.finish()
        path.upstream.finish()
        (one,) = told
        assert (one.status, one.bytes_in, one.bytes_out, one.ended) == (101, 5, 3, 7)
        assert one.fault == ""


def test_without_an_observer() -> None:
    """Nothing is told where nobody wants to know."""
    with proxy() as path:
        assert path.exchange(path.client(), GET, OK)[1] == OK
