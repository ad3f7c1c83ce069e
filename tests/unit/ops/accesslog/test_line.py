"""The access log's lines."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.http.message import RequestHead
from appliance.ops.accesslog.line import LONGEST_VALUE, CombinedLine, JsonLine
from appliance.ops.accesslog.redact import Redactor

COMBINED = re.compile(r'(\S+) - - \[([^\]]+)\] "([^"]*)" ([0-9]{3}) ([0-9]+) "([^"]*)" "([^"]*)"')


class Client:
    """A connection."""

    def __init__(self, client: str = "192.0.2.7", protocol: str = "") -> None:
        self.client = client
        self.protocol = protocol
        self.tls = "TLSv1.3"
        self.logged: Any = None


def asked(
    target: bytes = b"/a?b=c",
    fields: tuple[tuple[bytes, bytes], ...] = (),
    client: Client | None = None,
    ended: float = 12.0,
) -> RequestHead:
    """A request that an application has answered."""
    request = RequestHead(b"GET", target, 1)
    request.host = b"example.com"
    request.fields = list(fields)
    request.number = 1
    request.site, request.upstream, request.status = "example.com", "http://127.0.0.1:8000", 200
    request.started, request.sent, request.answered, request.ended = 10.0, 10.5, 10.75, ended
    request.bytes_in, request.bytes_out = 3, 5
    request.client = client or Client()
    return request


def wall(moment: float) -> float:
    """The requests above end at 12 on their clock, and 2025-11-22 12:00:00.25 UTC."""
    return moment - 12.0 + 1_763_812_800.25


def as_json(request: RequestHead) -> dict[str, object]:
    """What a reader makes of the line."""
    loaded: dict[str, object] = json.loads(JsonLine(Redactor(), "id-", wall).write(request))
    return loaded


def combined(request: RequestHead) -> str:
    """The line in the other format."""
    return CombinedLine(Redactor(), wall).write(request)


def test_json() -> None:
    """Everything that is known."""
    fields = ((b"Referer", b"https://a.example/?token=x"), (b"USER-AGENT", b'Lynx "2"'), (b"Cookie", b"secret"))
    assert as_json(asked(b"/a?b=c&key=k", fields)) == {
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
    request = asked()
    request.answered, request.fault, request.status = 0.0, "head", 502
    told = as_json(request)
    assert "upstream_seconds" not in told
    assert (told["fault"], told["status"], told["upstream_wait"]) == ("head", 502, 0.5)
    request.sent, request.upstream = 0.0, ""
    told = as_json(request)
    assert "upstream_wait" not in told
    assert told["upstream"] == ""


def test_json_of_an_answer_at_once() -> None:
    """A response that came whole began with its end; waits that are none are not told."""
    request = asked()
    request.answered, request.sent = 0.0, 10.0
    told = as_json(request)
    assert told["upstream_seconds"] == 2.0
    assert "upstream_wait" not in told


def test_one_connection() -> None:
    """What differs between its requests is told of each, whatever was told before."""
    line, client = JsonLine(Redactor(), "id-", wall).write, Client()
    cases = [
        (b"a.example", b"x", b"", 1),
        (b"a.example", b"x", b"", 1),
        (b"b.example", b"x", b"", 1),
        (b"b.example", b"y", b"", 1),
        (b"b.example", b"y", b"https://a.example/", 1),
        (b"b.example", b"y", b"https://b.example/", 1),
        (b"b.example", b"y", b"https://b.example/", 0),
    ]
    for host, agent, referer, version in cases:
        request = asked(fields=((b"User-Agent", agent), (b"Referer", referer)), client=client)
        request.host, request.version = host, version
        told = json.loads(line(request))
        assert (told["host"], told["user_agent"]) == (host.decode(), agent.decode())
        assert told.get("referer", "") == referer.decode()
        assert told["protocol"] == f"HTTP/1.{version}"


def test_long_header() -> None:
    """It is told, and not kept with the connection."""
    line, client = JsonLine(Redactor(), "id-", wall).write, Client()
    for agent in (b"a" * 2040, b"b" * 2040):
        request = asked(fields=((b"User-Agent", agent),), client=client)
        assert json.loads(line(request))["user_agent"] == agent.decode()
        assert client.logged is None
    line(asked(client=client))
    assert client.logged is not None


def test_time() -> None:
    """Second by second, and where the clock was set back."""
    line = JsonLine(Redactor(), "id-", wall).write
    times = [json.loads(line(asked(ended=now)))["time"][17:] for now in (12.0, 12.625, 12.75, 14.0, 11.0)]
    assert times == ["00.250Z", "00.875Z", "01.000Z", "02.250Z", "59.250Z"]


def test_no_request() -> None:
    """What could not be read as a request has a line as well."""
    nothing = RequestHead(b"", b"", 1)
    nothing.client = Client()
    nothing.ended, nothing.status, nothing.bytes_out = 12.0, 400, 5
    told = as_json(nothing)
    assert (told["method"], told["target"], told["status"]) == ("", "", 400)
    assert '] "" 400 5 "-" "-"' in combined(nothing)


def test_http2() -> None:
    """The connection tells, where the request is read as if it were HTTP/1.1."""
    assert as_json(asked(client=Client(protocol="HTTP/2.0")))["protocol"] == "HTTP/2.0"
    assert '"GET /a?b=c HTTP/2.0"' in combined(asked(client=Client(protocol="HTTP/2.0")))


def test_combined() -> None:
    """As Apache and nginx write it."""
    found = COMBINED.fullmatch(combined(asked(fields=((b"Referer", b"https://a.example/"), (b"User-Agent", b"Lynx")))))
    assert found is not None
    assert found.group(1, 3, 4, 5, 6, 7) == (
        *("192.0.2.7", "GET /a?b=c HTTP/1.1", "200", "5", "https://a.example/", "Lynx"),
    )
    assert re.fullmatch(r"2[123]/Nov/2025:[0-9:]{8} [+-][0-9]{4}", found[2])


def test_combined_within_a_second() -> None:
    """The time is written out once a second."""
    line = CombinedLine(Redactor(), wall).write
    first, second, third = (line(asked(ended=now)) for now in (12.0, 12.5, 13.5))
    assert first == second != third


def test_combined_of_a_unix_socket() -> None:
    """A client without an address is a dash."""
    assert combined(asked(client=Client(""))).startswith("- - - [")


def test_long_values() -> None:
    """Values are cut before they make lines that nothing reads."""
    assert len(str(as_json(asked(b"/" + b"a" * 8000))["target"])) == LONGEST_VALUE


@given(target=st.binary(min_size=1, max_size=40), agent=st.binary(max_size=40))
def test_nothing_escapes(target: bytes, agent: bytes) -> None:
    """Whatever bytes there are, a line stays one line of ASCII, and its values end where they should."""
    request = asked(target, ((b"User-Agent", agent),))
    line = JsonLine(Redactor(), "", wall).write(request)
    assert line.isascii()
    assert line.isprintable()
    json.loads(line)
    other = combined(request)
    assert other.isascii()
    assert other.isprintable()
    assert COMBINED.fullmatch(other)
