"""Every request leaves one record, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from appliance.config import Limits, Timeouts
from appliance.http.message import RequestHead
from appliance.http.record import Client, Record
from appliance.ops.observer import RequestObserver
from tests.support.proxying import OK, REQUEST, TOKEN_PATH, Proxy, proxy

GET = b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: example.com\r\n"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Ended:
    """A request as an observer sees it at its end."""

    def __init__(self, record: Record, request: RequestHead, client: Client, now: float) -> None:
        self.request = request
        self.client = client.client
        self.ended = now
        self.record = record

    def __getattr__(self, name: str) -> Any:
        return getattr(self.record, name)


@contextmanager
def watched(limits: Limits = Limits(), timeouts: Timeouts = Timeouts()) -> Iterator[tuple[Proxy, list[Ended]]]:  # noqa: B008
    """A data path, and what became of the requests that went over it."""
    records: list[Ended] = []

    def note(record: Record, request: RequestHead, client: Client, now: float) -> str:
        records.append(Ended(record, request, client, now))
        return ""

    with proxy(limits=limits, timeouts=timeouts) as path:
        path.observer = RequestObserver(log=(note, lambda lines: None), batch=1)
        yield path, records
        assert path.observer.in_flight == 0


def test_a_proxied_request() -> None:
    """Who asked what of which site, what answered it, with which status and how many bytes, and when."""
    with watched() as (path, records):
        client = path.client("192.0.2.7")
        path.pass_time(1)
        client.send(POST + b"Content-Length: 3\r\n\r\nabc")
        path.pass_time(2)
        path.upstream.send(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nab")
        path.pass_time(3)
        assert records == []
        path.upstream.send(b"cd")
        (record,) = records
        assert (record.request.method, record.request.target) == (b"POST", b"/")
        assert (record.client, record.site, record.upstream) == ("192.0.2.7", "example.com", "http://127.0.0.1:8000")
        assert (record.status, record.bytes_in, record.bytes_out) == (201, 3, 4)
        assert (record.started, record.sent, record.answered, record.ended) == (1, 1, 3, 6)
        assert record.fault == ""


def test_requests_of_one_connection() -> None:
    """Each its own, pipelined ones too; chunks count without their framing, heads not at all."""
    with watched() as (path, records):
        path.respond(CHUNKED_OK + b"2\r\nok\r\n3\r\nok.\r\n0\r\n\r\n")
        client = path.client()
        client.send(REQUEST % 1 + REQUEST % 2)
        assert [record.request.target for record in records] == [b"/1", b"/2"]
        assert [record.bytes_out for record in records] == [5, 5]
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        assert records[2].bytes_in == 4


def test_one_last_chunk() -> None:
    """A piece that goes out in one write with the end of the body counts without its framing, too."""
    with watched() as (path, records):
        path.exchange(path.client(), GET, CHUNKED_OK + b"2\r\nok\r\n0\r\n\r\n")
        assert [record.bytes_out for record in records] == [2]


def test_answered_on_the_spot() -> None:
    """A challenge and an unknown host have no upstream, and the latter no site."""
    with watched() as (path, records):
        client = path.client()
        client.send(b"GET %b HTTP/1.1\r\nHost: example.com\r\n\r\n" % TOKEN_PATH)
        client.send(b"GET / HTTP/1.1\r\nHost: unknown.example\r\n\r\n")
        assert [(record.status, record.site, record.upstream) for record in records] == [(200, "", ""), (404, "", "")]
        assert all(record.fault == "" for record in records)


def test_no_request_at_all() -> None:
    """What could not be read is recorded without one; the time for a head that never ends as well."""
    with watched(timeouts=Timeouts(header=3)) as (path, records):
        path.client().send(b"nonsense\r\n\r\n")
        assert [(record.request.method, record.status) for record in records] == [(b"", 400)]
        slow = path.client()
        slow.send(b"GET / HT")
        path.pass_time(5)
        assert [(record.request.method, record.status) for record in records[1:]] == [(b"", 408)]


def test_refused_body() -> None:
    """A request that is refused for its body keeps what is known of it."""
    with watched(limits=Limits(body_bytes=3)) as (path, records):
        path.client().send(POST + b"Content-Length: 4\r\n\r\nbody")
        path.client().send(POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        assert [(record.status, record.fault) for record in records] == [(413, ""), (413, "")]
        assert [record.request.method for record in records] == [b"POST", b"POST"]


def test_nobody_answers() -> None:
    """An application that closes instead of answering: 502, and where it failed."""
    with watched() as (path, records):
        client = path.client()
        client.send(POST + b"Content-Length: 0\r\n\r\n")
        path.upstream.finish()
        (record,) = records
        assert (record.status, record.fault, record.upstream) == (502, "head", "http://127.0.0.1:8000")


def test_broken_off_by_the_application() -> None:
    """The status that was sent stays; that it ended too early is the application's fault."""
    with watched() as (path, records):
        client = path.client()
        client.send(GET)
        path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        path.upstream.finish()
        (record,) = records
        assert (record.status, record.fault, record.bytes_out) == (200, "body", 3)


def test_broken_off_by_the_client() -> None:
    """A client that goes away before it was answered leaves a 499; within the response, the response's status."""
    with watched() as (path, records):
        client = path.client()
        client.send(GET)
        client.reset()
        client = path.client()
        client.send(GET)
        path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        client.reset()
        assert [(record.status, record.fault) for record in records] == [
            (499, "client"),
            (200, "client"),
        ]


def test_tunnels() -> None:
    """A tunnel is recorded at its end, with what went through it."""
    with watched() as (path, records):
        client = path.client()
        client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        path.upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        client.send(b"12345")
        path.upstream.send(b"123")
        path.pass_time(7)
        assert records == []
        client.finish()
        path.upstream.finish()
        (record,) = records
        assert (record.status, record.bytes_in, record.bytes_out, record.ended) == (101, 5, 3, 7)
        assert record.fault == ""


def test_without_an_observer() -> None:
    """Nothing is recorded where nobody wants to know."""
    with proxy() as path:
        assert path.exchange(path.client(), GET, OK)[1] == OK
