"""Requests that have ended, as those who count them are told of them, and their records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace

from attrs import frozen

from appliance.http.message import RequestHead
from appliance.http.record import Record
from appliance.ops.metrics.counts import Kind, Tally
from appliance.ops.observer import RequestObserver

_CLIENT = SimpleNamespace(client="192.0.2.7", tls="TLSv1.3", protocol="", logged=None)


@frozen
class Ended:
    """One request."""

    site: str = "a.example"
    method: bytes = b"GET"
    status: int = 200
    seconds: float = 0.3
    upstream: str = "http://a:1"
    fault: str = ""
    answered: float = 0.0
    """Seconds until its response began; 0, if that was with its end or not at all."""
    bytes_in: int = 3
    bytes_out: int = 5


def tallied(requests: Iterable[Ended]) -> Mapping[Kind, Tally]:
    """These in one batch."""
    batches: list[Mapping[Kind, Tally]] = []
    observer = RequestObserver(batches.append, batch=1_000_000)
    for each in requests:
        record = observer.begin(1.0)
        record.site, record.status, record.upstream, record.fault = each.site, each.status, each.upstream, each.fault
        record.sent = 1.0 if each.upstream else 0.0
        record.answered = 1.0 + each.answered if each.answered else 0.0
        record.bytes_in, record.bytes_out = each.bytes_in, each.bytes_out
        observer.end(record, RequestHead(each.method, b"/", 1), _CLIENT, 1.0 + each.seconds, True)
    observer.flush()
    return batches[0]


def keeping(records: list[Record]) -> RequestObserver:
    """An observer that puts them there as they end."""

    def keep(record: Record, *_: object) -> str:
        records.append(record)
        return ""

    return RequestObserver(log=(keep, lambda lines: None), batch=1)
