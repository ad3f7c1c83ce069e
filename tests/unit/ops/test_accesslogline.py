"""The access log's lines."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from appliance.http.message import RequestHead
from appliance.http.record import Record
from appliance.ops.accesslogline import LONGEST_VALUE, CombinedLines, JsonLines
from appliance.ops.accesslogredact import Redactor
from appliance.ops.observer import RequestObserver

OFFSET = 1_763_812_800.25 - 12.0
"""The records below ended at 2025-11-22 12:00:00.25 UTC."""

COMBINED = re.compile(r'(\S+) - - \[([^\]]+)\] "([^"]*)" ([0-9]{3}) ([0-9]+) "([^"]*)" "([^"]*)"')


def record(
    target: bytes = b"/a?b=c", fields: tuple[tuple[bytes, bytes], ...] = (), version: int = 1
) -> tuple[Record, RequestHead]:
    """A request that an application has answered."""
    request = RequestHead(b"GET", target, version)
    request.host = b"example.com"
    request.fields = list(fields)
    made = RequestObserver().begin(request, "192.0.2.7", "TLSv1.3", 10.0)
    made.site, made.upstream, made.status = "example.com", "http://127.0.0.1:8000", 200
    made.sent, made.answered, made.ended = 10.5, 10.75, 12.0
    made.bytes_in, made.bytes_out = 3, 5
    return made, request


def as_json(made: Record) -> dict[str, object]:
    """What a reader makes of the line."""
    loaded: dict[str, object] = json.loads(JsonLines(Redactor(), "id-")([made], OFFSET)[0])
    return loaded


def test_json() -> None:
    """Everything that is known, in the order in which one reads it."""
    fields = ((b"Referer", b"https://a.example/?token=x"), (b"USER-AGENT", b'Lynx "2"'), (b"Cookie", b"secret"))
    made, _ = record(b"/a?b=c&key=k", fields)
    assert as_json(made) == {
        "time": "2025-11-22T12:00:00.250Z",
        "id": "id-1",
        "site": "example.com",
        "client": "192.0.2.7",
        "method": "GET",
        "host": "example.com",
        "target": "/a?b=c&key=REDACTED",
        "protocol": "HTTP/1.1",
        "tls": "TLSv1.3",
        "status": 200,
        "bytes_in": 3,
        "bytes_out": 5,
        "seconds": 2.0,
        "upstream": "http://127.0.0.1:8000",
        "upstream_wait": 0.5,
        "upstream_seconds": 0.25,
        "referer": "https://a.example/?token=REDACTED",
        "user_agent": 'Lynx "2"',
    }


def test_json_of_what_went_wrong() -> None:
    """What did not happen has no key: an upstream that was never sent the request, or never answered."""
    made, _ = record()
    made.answered, made.fault, made.status = 0.0, "head", 502
    told = as_json(made)
    assert "upstream_seconds" not in told
    assert told["fault"] == "head"
    made.sent = 0.0
    assert "upstream_wait" not in as_json(made)
    made.upstream = ""
    assert as_json(made)["upstream"] == ""


def test_no_request() -> None:
    """What could not be read as a request has a line as well."""
    made, _ = record()
    made.request, made.site, made.upstream, made.status = None, "", "", 400
    told = as_json(made)
    assert (told["method"], told["target"], told["status"]) == ("", "", 400)
    assert '] "" 400 5 "-" "-"' in CombinedLines(Redactor())([made], OFFSET)[0]


def test_http2() -> None:
    """The record tells, where the request is read as if it were HTTP/1.1."""
    made, _ = record()
    made.protocol = "HTTP/2.0"
    assert as_json(made)["protocol"] == "HTTP/2.0"
    assert '"GET /a?b=c HTTP/2.0"' in CombinedLines(Redactor())([made], OFFSET)[0]


def test_combined() -> None:
    """As Apache and nginx write it."""
    made, _ = record(fields=((b"Referer", b"https://a.example/"), (b"User-Agent", b"Lynx")))
    found = COMBINED.fullmatch(CombinedLines(Redactor())([made], OFFSET)[0])
    assert found is not None
    assert found.group(1, 3, 4, 5, 6, 7) == (
        *("192.0.2.7", "GET /a?b=c HTTP/1.1", "200", "5", "https://a.example/", "Lynx"),
    )
    assert re.fullmatch(r"2[123]/Nov/2025:[0-9:]{8} [+-][0-9]{4}", found[2])


def test_combined_of_a_unix_socket() -> None:
    """A client without an address is a dash."""
    made, _ = record()
    made.client = ""
    assert CombinedLines(Redactor())([made], OFFSET)[0].startswith("- - - [")


def test_long_values() -> None:
    """Values are cut before they make lines that nothing reads."""
    made, _ = record(b"/" + b"a" * 8000)
    assert len(str(as_json(made)["target"])) == LONGEST_VALUE


@given(target=st.binary(min_size=1, max_size=40), agent=st.binary(max_size=40))
def test_nothing_escapes(target: bytes, agent: bytes) -> None:
    """Whatever bytes there are, a line stays one line of ASCII, and its values end where they should."""
    made, _ = record(target, ((b"User-Agent", agent),))
    line = JsonLines(Redactor(), "")([made], OFFSET)[0]
    assert line.isascii()
    assert line.isprintable()
    json.loads(line)
    combined = CombinedLines(Redactor())([made], OFFSET)[0]
    assert combined.isascii()
    assert combined.isprintable()
    assert COMBINED.fullmatch(combined)


def test_two_in_one_second_are_told_apart() -> None:
    """The time is made once a second; a field whose name is as long as a wanted one's is not taken for it."""
    fields = ((b"X-Trace-Id", b"not the agent"), (b"X-Trace", b"not the referer"))
    first, second = record(fields=fields)[0], record(fields=fields)[0]
    second.status = 404
    for lines in (JsonLines(Redactor(), "id-"), CombinedLines(Redactor())):
        one, two = lines([first, second], OFFSET)
        assert "not the" not in one + two
        assert ("200" in one, "404" in two) == (True, True)


def test_what_is_remembered_of_clients_is_bounded() -> None:
    """Any number of user agents is told right."""
    lines = JsonLines(Redactor(), "id-")
    for number in range(2050):
        agent = b"agent %d" % number
        told = json.loads(lines([record(fields=((b"User-Agent", agent),))[0]], OFFSET)[0])
        assert told["user_agent"] == agent.decode()


def test_a_short_wait_is_not_told() -> None:
    """A connection was there already: the usual case."""
    made, _ = record()
    made.sent = made.started
    told = as_json(made)
    assert "upstream_wait" not in told
    assert told["upstream_seconds"] == 0.75
