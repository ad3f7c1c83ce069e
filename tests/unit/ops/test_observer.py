"""Where the ends of requests arrive."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted

from appliance.http.message import RequestHead
from appliance.http.record import Record
from appliance.ops.metricscounts import Counted, Counts
from appliance.ops.observer import RequestObserver


def end(observer: RequestObserver, request: RequestHead | None = None, whole: bool = True) -> Record:
    """A request from 1 to 3 on the clock, answered by an upstream."""
    record = observer.begin(request, "192.0.2.7", "TLSv1.3", 1.0)
    record.site, record.upstream, record.sent, record.status = "a.example", "http://a:1", 1.5, 200
    observer.end(record, 3.0, whole)
    return record


def test_batches() -> None:
    """Passed on when there are enough, or when somebody says so; once."""
    logged: list[list[int]] = []
    counted: list[int] = []
    observer = RequestObserver(
        lambda entries: counted.append(len(entries)),
        lambda records: logged.append([record.number for record in records]),
        batch=3,
    )
    for _ in range(4):
        end(observer)
    assert (logged, counted) == ([[1, 2, 3]], [3])
    observer.flush()
    observer.flush()
    assert (logged, counted) == ([[1, 2, 3], [4]], [3, 1])


def test_one_of_both() -> None:
    """Whoever is not there is given nothing."""
    logged: list[Record] = []
    counted: list[Counted] = []
    end(RequestObserver(log=logged.extend, batch=1))
    end(RequestObserver(counted.extend, batch=1))
    assert (len(logged), len(counted)) == (1, 1)


def test_what_is_counted() -> None:
    """The response began when it ended, unless it was said before; one that never came has no time."""
    counted: list[Counted] = []
    observer = RequestObserver(counted.extend, batch=1)
    end(observer, RequestHead(b"PUT", b"/", 1))
    record = observer.begin(None, "", "", 1.0)
    record.sent, record.answered, record.status = 1.5, 2.0, 200
    observer.end(record, 3.0, False)
    observer.end(observer.begin(None, "", "", 1.0), 3.0, False)
    assert counted == [
        ("a.example", b"PUT", 200, 2.0, "http://a:1", 1.5, 0, 0, ""),
        ("", b"", 200, 2.0, "", 0.5, 0, 0, "client"),
        ("", b"", 499, 2.0, "", -1.0, 0, 0, "client"),
    ]


def test_in_flight() -> None:
    """What has begun and not ended, whether or not it was passed on."""
    observer = RequestObserver()
    records = [observer.begin(None, "", "", 1.0) for _ in range(3)]
    observer.end(records[1], 3.0, True)
    assert observer.in_flight == 2


def test_no_cycles() -> None:
    """A request does not know its record any more once that is complete: nothing is left to the garbage collector."""
    observer = RequestObserver()
    request = RequestHead(b"GET", b"/", 1)
    request.record = observer.begin(request, "", "", 1.0)
    observer.end(request.record, 2.0, True)
    assert request.record is None


def test_handshakes() -> None:
    """Counted where anything is."""
    counts = Counts(5)
    for observer in (RequestObserver(handshakes=counts), RequestObserver()):
        observer.handshake_completed("TLSv1.3")
        observer.handshake_failed(ConnectionAborted())
    assert counts.handshakes == {"TLSv1.3": 1}
    assert counts.failed_handshakes == {"timeout": 1}
