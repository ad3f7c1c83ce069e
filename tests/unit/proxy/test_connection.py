"""A connection to the application: one exchange at a time, then idle. Most of it shows in the tests of exchanges."""

from __future__ import annotations

import pytest

from appliance.config import Timeouts
from appliance.errors import UpstreamError
from appliance.http.message import Fields, RequestHead, ResponseHead
from appliance.net.deadlines import Deadlines
from appliance.proxy.connection import UpstreamConnection
from tests.support.proxying import OK
from tests.support.transports import OPEN, RESET, Network, Peer

CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def request_for(method: bytes) -> RequestHead:
    request = RequestHead(method, b"/", 1)
    request.authority = b"h"
    return request


class Owner:
    """Notes what a connection tells its pool."""

    name = "http://127.0.0.1:8000"

    def __init__(self) -> None:
        self.told: list[str] = []

    def released(self, connection: UpstreamConnection) -> None:
        self.told.append("released")

    def closed(self, connection: UpstreamConnection) -> None:
        self.told.append("closed")

    def failed(self, error: UpstreamError) -> None:
        self.told.append(f"failed at {error.phase}")


class Listener:
    """Notes what a connection tells its exchange."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.until_close = False

    def response_head(self, response: ResponseHead) -> None:
        self.told.append(response.status)

    def response_body(self, data: bytes) -> None:
        self.told.append(data)

    def response_end(self, data: bytes, trailers: Fields | None = None) -> None:
        self.told += [data, *(trailers or []), "end"]

    def informational(self, response: ResponseHead) -> None:
        self.told.append(response.status)

    def flush(self) -> None:
        self.told.append("flush")

    def upstream_failed(self, error: UpstreamError) -> None:
        self.told.append(str(error))

    def upstream_unanswered(self, connection: UpstreamConnection, error: UpstreamError) -> None:
        self.told.append("unanswered")


class Line:
    """A connection, the test's end of it, its pool, its exchange, and time."""

    def __init__(self, timeouts: Timeouts = Timeouts()) -> None:  # noqa: B008
        self.network = Network()
        self.deadlines = Deadlines(self.network)
        self.deadlines.startService()
        self.owner = Owner()
        self.exchange = Listener()
        self.connection = UpstreamConnection(self.owner, self.deadlines, timeouts)
        self.peer: Peer = self.network.connect(self.connection)

    def ask(self, method: bytes = b"GET") -> None:
        """Send a request."""
        self.connection.send(self.exchange, request_for(method), b"/", b"", b"", True)  # type: ignore[arg-type]
        assert self.peer.take() == HEAD.replace(b"GET", method)


def test_in_turn() -> None:
    """A request out, a response in, then idle; told to the pool before the exchange, which may bring the next one."""
    line = Line()
    for number in (1, 2):
        line.ask()
        line.peer.send(OK)
        assert line.exchange.told == [200, b"ok", "end"] * number
        assert line.owner.told == ["released"] * number
        assert (line.connection.exchanges, line.connection.answers) == (number, number)
    assert line.peer.saw == OPEN


def test_content_after_the_end() -> None:
    """Whoever would send more of a request that is complete is stopped: it would be another request."""
    line = Line()
    line.ask()
    with pytest.raises(AssertionError, match="after the request's end"):
        line.connection.send_body(HEAD)
    assert line.peer.take() == b""


def test_pieces() -> None:
    """A head is told with what came of the body, and flushed when there is no more for now."""
    line = Line()
    line.ask()
    line.peer.send(CHUNKED_OK + b"2\r\nok\r\n")
    assert line.exchange.told == [200, b"ok", "flush"]
    line.peer.send(b"2\r")
    assert line.exchange.told[3:] == []
    line.peer.send(b"\nok\r\n0\r\n\r\n")
    assert line.exchange.told[3:] == [b"ok", "end"]


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"\0"])
def test_unasked(unasked: bytes) -> None:
    """Bytes on an idle connection answer nothing: it is closed, so that they never answer the next request."""
    line = Line()
    line.ask()
    line.peer.send(OK)
    line.peer.send(unasked)
    assert line.peer.saw == RESET
    assert line.owner.told == ["released", "closed"]
    assert len(line.exchange.told) == 3


@pytest.mark.parametrize("ending", [Peer.finish, Peer.reset])
def test_closed_while_idle(ending: object) -> None:
    """An idle connection that the application closes is gone, and nobody's fault."""
    line = Line()
    line.ask()
    line.peer.send(OK)
    ending(line.peer)  # type: ignore[operator]
    assert line.owner.told == ["released", "closed"]
    assert len(line.deadlines) == 0


def test_idle_time() -> None:
    """An idle connection is closed before the application would close it."""
    line = Line(Timeouts(upstream_idle=1.5))
    line.ask()
    line.peer.send(OK)
    line.network.pass_time(1)
    assert line.peer.saw == OPEN
    line.network.pass_time(2)
    assert line.peer.saw == RESET
    assert line.owner.told == ["released", "closed"]


@pytest.mark.parametrize(
    ("sent", "blamed"),
    [
        (b"nonsense\r\n\r\n", ["failed at head"]),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 12_000, ["failed at head"]),
        (CHUNKED_OK + b"x", []),
        (CHUNKED_OK + b"x\r\n", ["failed at body"]),
    ],
)
def test_malformed(sent: bytes, blamed: list[str]) -> None:
    """What is no HTTP closes the connection and is told once; a header that does not end is bounded."""
    line = Line()
    line.ask()
    line.peer.send(sent)
    assert line.owner.told == (["closed", *blamed] if blamed else [])
    assert line.peer.saw == (RESET if blamed else OPEN)
    assert len([told for told in line.exchange.told if isinstance(told, str) and told.startswith("it sent")]) == len(
        blamed
    )


def test_gone_unanswered() -> None:
    """A new connection that ends without an answer is the application's fault; a reused one may have been idle."""
    line = Line()
    line.ask()
    line.peer.finish()
    assert line.exchange.told == ["unanswered"]
    assert line.owner.told == ["closed", "failed at head"]
    line = Line()
    line.ask()
    line.peer.send(OK)
    line.ask()
    line.peer.reset()
    assert line.exchange.told[3:] == ["unanswered"]
    assert line.owner.told == ["released", "closed"]


def test_abandoned() -> None:
    """An exchange that is over before its end is not told any more; nor does the connection serve another."""
    line = Line()
    line.ask()
    line.peer.send(CHUNKED_OK)
    line.connection.abandon()
    line.connection.close()
    line.peer.send(b"2\r\nok\r\n")
    assert line.exchange.told == [200, "flush"]
    assert line.owner.told == ["closed"]
    assert line.peer.saw == RESET


def test_paused() -> None:
    """Pausing twice is pausing once; while it lasts nothing is read and no time runs against the application."""
    line = Line(Timeouts(body=10))
    line.ask()
    line.peer.send(CHUNKED_OK)
    line.connection.pause()
    line.connection.pause()
    line.peer.send(b"2\r\nok\r\n")
    line.network.pass_time(100)
    assert line.exchange.told == [200, "flush"]
    line.connection.resume()
    line.connection.resume()
    line.network.settle()
    assert line.exchange.told[2:] == [b"ok"]
    assert line.peer.saw == OPEN


def test_ended_while_paused() -> None:
    """A response that comes to its end in spite of a pause, as over TLS, leaves a connection that reads again."""
    line = Line()
    line.ask()
    line.connection.pause()
    line.connection.dataReceived(OK)
    assert line.owner.told == ["released"]
    line.ask()
    line.peer.send(OK)
    assert line.exchange.told == [200, b"ok", "end"] * 2


def test_takes_nothing() -> None:
    """An application that takes nothing of a request is given up, its exchange told with 504."""
    line = Line(Timeouts(body=10))
    line.peer.capacity = 100
    request = RequestHead(b"POST", b"/", 1)
    request.framing = 200_000
    paused: list[bool] = []
    exchange = line.exchange
    exchange.pause_request = lambda: paused.append(True)  # type: ignore[attr-defined]
    exchange.resume_request = lambda: paused.append(False)  # type: ignore[attr-defined]
    line.connection.send(exchange, request, b"/", b"", b"x" * 100_000, False)  # type: ignore[arg-type]
    line.connection.send_body(b"x" * 1000)
    assert paused == [True]
    line.network.pass_time(15)
    line.peer.read(10)  # a little
    line.network.pass_time(9)
    assert exchange.told == []
    line.network.pass_time(25)
    assert exchange.told == ["it took nothing of the request for 10 s"]
    assert line.owner.told == ["closed", "failed at send"]


def test_silent() -> None:
    """One that stops within a response is given up, and not blamed: it did answer."""
    line = Line(Timeouts(body=10))
    line.ask()
    line.peer.send(CHUNKED_OK)
    line.network.pass_time(12)
    assert line.exchange.told == [200, "flush", "it sent nothing of the response for 10 s"]
    assert line.owner.told == ["closed"]
