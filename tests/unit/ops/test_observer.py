"""Where the ends of requests arrive."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from twisted.internet.error import ConnectionAborted

from appliance.http.message import RequestHead
from appliance.http.record import Client, Record
from appliance.ops.metrics.counts import Counts, Kind, Tally
from appliance.ops.observer import RequestObserver

CLIENT = SimpleNamespace(client="192.0.2.7", tls="TLSv1.3", protocol="", logged=None)
REQUEST = RequestHead(b"PUT", b"/", 1)


def end(observer: RequestObserver, whole: bool = True) -> Record:
    """A request from 1 to 3 on the clock."""
    record = observer.begin(1.0)
    record.status = 200
    observer.end(record, REQUEST, CLIENT, 3.0, whole)
    return record


def line(record: Record, request: RequestHead, client: Client, now: float) -> str:
    """What could be in a log."""
    return f"{record.number} {request.method!r} {client.client} {now:g}"


def test_batches() -> None:
    """Passed on when there are enough, or when somebody says so; to everybody, once."""
    logged: list[int] = []
    counted: list[int] = []
    observer = RequestObserver(
        lambda tallies: counted.append(sum(len(tally.seconds) for tally in tallies.values())),
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
    """Whoever counts gets tallies, whoever writes gets lines; neither has to be there."""
    counted: list[Mapping[Kind, Tally]] = []
    logged: list[str] = []
    end(RequestObserver(counted.append, batch=1))
    end(RequestObserver(log=(line, logged.extend), batch=1))
    assert [(kind, tally.seconds) for each in counted for kind, tally in each.items()] == [
        (("", "", b"PUT", 200), [2.0])
    ]
    assert logged == ["1 b'PUT' 192.0.2.7 3"]


def test_broken_off() -> None:
    """By the client, unless somebody else was named; before an answer began, it has a status of its own."""
    observer = RequestObserver()
    record = observer.begin(1.0)
    observer.end(record, REQUEST, CLIENT, 3.0, False)
    assert (record.status, record.fault) == (499, "client")
    record = observer.begin(1.0)
    record.status, record.fault = 200, "body"
    observer.end(record, REQUEST, CLIENT, 3.0, False)
    assert (record.status, record.fault) == (200, "body")


def test_in_flight() -> None:
    """What has begun and not ended, whether or not it was passed on."""
    observer = RequestObserver(batch=2)
    records = [observer.begin(1.0) for _ in range(5)]
    for record in records[:3]:
        observer.end(record, REQUEST, CLIENT, 3.0, True)
    assert observer.in_flight == 2


def test_handshakes() -> None:
    """Counted where anything is."""
    counts = Counts(5)
    for observer in (RequestObserver(handshakes=counts), RequestObserver()):
        observer.handshake_completed("TLSv1.3")
        observer.handshake_failed(ConnectionAborted())
    assert counts.handshakes == {"TLSv1.3": 1}
    assert counts.failed_handshakes == {"timeout": 1}
