"""Error pages through connections: their ids are those of the access log."""

from __future__ import annotations

import json
import re
from contextlib import closing
from types import SimpleNamespace

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from appliance.http.message import RequestHead
from tests.support.observed import keeping
from tests.support.proxying import proxy, read_responses

PLAIN = b"GET / HTTP/1.1\r\nHost: example.com\r\nAccept: application/json\r\n\r\n"


def test_id_of_an_observed_request() -> None:
    """What the page names is what the observer numbered: for requests, and for what was none."""
    kept: list[RequestHead] = []
    with proxy() as network:
        network.observer = keeping(kept)
        client = network.client()
        client.send(PLAIN)
        network.upstream.send(b"nonsense\r\n\r\n")
        client.send(b"GET /\r\n\r\n")
        (_, _, first, _), (_, _, second, _) = read_responses(client.take(), [b"GET", b"GET"], False)
    assert [request.status for request in kept] == [502, 400]
    assert json.loads(first)["request_id"].endswith(f"-{kept[0].number:x}")
    assert f"-{kept[1].number:x}<".encode() in second


def test_id_without_an_observer() -> None:
    """While nobody observes there are ids as well, and the log has them too."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    with proxy() as network, closing(SimpleNamespace(close=lambda: globalLogPublisher.removeObserver(observe))):
        ids = set()
        for _ in range(2):
            client = network.client()
            client.send(PLAIN)
            network.pass_time(1)
            network.upstream.send(b"nonsense\r\n\r\n")
            ((status, _, body, complete),) = read_responses(client.take(), [b"GET"], False)
            assert (status, complete) == (502, True)
            ids.add(json.loads(body)["request_id"])
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{12}-10000000[12]", each) for each in ids)
    told = [line for line in lines if "answered 502" in line]
    assert {line.rpartition(", request ")[2] for line in told} == ids
