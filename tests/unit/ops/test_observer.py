"""Where the ends of requests arrive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import pytest
from twisted.internet.error import ConnectionAborted
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from appliance.http.message import RequestHead
from appliance.ops.metrics.counts import Counts
from appliance.ops.observer import RequestObserver

CLIENT = SimpleNamespace(client="192.0.2.7", tls="TLSv1.3", protocol="", logged=None)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the service says in its log."""
    lines: list[str] = []

    def hear(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(hear)
    yield lines
    globalLogPublisher.removeObserver(hear)


def begin(observer: RequestObserver) -> RequestHead:
    """A request from 1 on the clock."""
    request = RequestHead(b"PUT", b"/", 1)
    request.number = observer.begun = observer.begun + 1
    request.started = 1.0
    return request


def end(observer: RequestObserver) -> None:
    """One until 3."""
    request = begin(observer)
    request.status = 200
    observer.end(request, CLIENT, 3.0, True)


def line(request: RequestHead) -> str:
    """What could be in a log."""
    return f"{request.number} {request.method!r} {request.client.client} {request.started:g} {request.ended:g}"


def test_batches() -> None:
    """Passed on when there are enough, or when somebody says so; to everybody, once."""
    logged: list[int] = []
    counted: list[int] = []
    observer = RequestObserver(
        lambda requests: counted.append(len(requests)),
        (line, lambda lines: logged.append(len(lines))),
        batch=3,
    )
    for _ in range(4):
        end(observer)
    assert (logged, counted) == ([3], [3])
    observer.flush()
    observer.flush()
    assert (logged, counted) == ([3, 1], [3, 1])


def test_one_of_both() -> None:
    """Whoever counts gets requests, whoever writes gets lines; neither has to be there."""
    counted: list[RequestHead] = []
    logged: list[str] = []
    end(RequestObserver(counted.extend, batch=1))
    end(RequestObserver(log=(line, logged.extend), batch=1))
    end(RequestObserver(batch=1))
    assert [(request.method, request.status) for request in counted] == [(b"PUT", 200)]
    assert logged == ["1 b'PUT' 192.0.2.7 1 3"]


def test_a_line_that_cannot_be_made(said: list[str]) -> None:
    """It is missing, which is said; the others of its batch are there, and the request goes on."""
    logged: list[str] = []

    def odd_only(request: RequestHead) -> str:
        if request.number % 2 == 0:
            raise ValueError("even")
        return line(request)

    observer = RequestObserver(log=(odd_only, logged.extend), batch=3)
    for _ in range(3):
        end(observer)
    assert logged == ["1 b'PUT' 192.0.2.7 1 3", "3 b'PUT' 192.0.2.7 1 3"]
    assert said == ["access log: no line for a request of no site: the appliance's mistake, please report it"]


def test_no_line_can_be_made(said: list[str]) -> None:
    """Nothing is written then: whoever writes is never given nothing."""

    def never(_: RequestHead) -> str:
        raise ValueError

    written: list[Sequence[str]] = []
    end(RequestObserver(log=(never, written.append), batch=1))
    assert written == []
    assert len(said) == 1


def test_what_cannot_be_counted(said: list[str]) -> None:
    """The log has it all the same, and the request goes on."""
    logged: list[str] = []

    def miscount(_: object) -> None:
        raise ValueError

    end(RequestObserver(miscount, (line, logged.extend), batch=1))
    assert logged == ["1 b'PUT' 192.0.2.7 1 3"]
    assert said == ["metrics: 1 requests are not counted: the appliance's mistake, please report it"]


def test_broken_off() -> None:
    """By the client, unless somebody else was named; before an answer began, it has a status of its own."""
    observer = RequestObserver()
    request = begin(observer)
    observer.end(request, CLIENT, 3.0, False)
    assert (request.status, request.fault) == (499, "client")
    request = begin(observer)
    request.status, request.fault = 200, "body"
    observer.end(request, CLIENT, 3.0, False)
    assert (request.status, request.fault) == (200, "body")


def test_in_flight() -> None:
    """What has begun and not ended, whether or not it was passed on."""
    observer = RequestObserver(batch=2)
    requests = [begin(observer) for _ in range(5)]
    for request in requests[:3]:
        observer.end(request, CLIENT, 3.0, True)
    assert observer.in_flight == 2


def test_handshakes() -> None:
    """Counted where anything is."""
    counts = Counts(5)
    for observer in (RequestObserver(handshakes=counts), RequestObserver()):
        observer.handshake_completed("TLSv1.3")
        observer.handshake_failed(ConnectionAborted())
    assert counts.handshakes == {"TLSv1.3": 1}
    assert counts.failed_handshakes == {"timeout": 1}
