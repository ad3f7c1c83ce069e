"""Floods and bombs over HTTP/2: each ends its own connection, with the right word, before it has cost anything much."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.config import Limits
from appliance.http.http2bounds import A_SECOND, FULL, RESET, Patience
from appliance.http.http2frames import Http2ConnectionError
from tests.support.http2 import (
    CONTINUATION,
    DATA,
    GET,
    HEADERS,
    POST,
    PRIORITY,
    Client,
    data,
    frame,
    headers,
    literal,
    ping,
    rst_stream,
    settings,
    window_update,
)
from tests.support.proxying import Proxy, proxy

CALM = "ENHANCE_YOUR_CALM"


def streams(make: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """A flood of streams: ``make`` gets their ids."""
    return lambda number: make(number * 2 + 1)


FLOODS: dict[str, tuple[bytes, Callable[[int], bytes], str]] = {
    "rapid reset": (b"", streams(lambda stream: headers(stream) + rst_stream(stream)), CALM),
    "rapid reset of uploads": (b"", streams(lambda stream: headers(stream, POST, False) + rst_stream(stream)), CALM),
    "made to reset, by a window update of 0": (
        b"",
        streams(lambda stream: headers(stream) + window_update(stream, 0)),
        CALM,
    ),
    "made to reset, by a window too large": (
        b"",
        streams(lambda stream: headers(stream) + window_update(stream, 2**31 - 1)),
        CALM,
    ),
    "made to reset, by DATA after the end": (b"", streams(lambda stream: headers(stream) + data(stream, b"x")), CALM),
    "made to reset, by a malformed request": (
        b"",
        streams(lambda stream: headers(stream, (*GET, (b"connection", b"close")))),
        CALM,
    ),
    "made to reset, by content of another length": (
        b"",
        streams(lambda stream: headers(stream, (*POST, (b"content-length", b"1")), False) + data(stream, b"xx")),
        CALM,
    ),
    "made to reset, by content too short": (
        b"",
        streams(lambda stream: headers(stream, (*POST, (b"content-length", b"1")), False) + data(stream, end=True)),
        CALM,
    ),
    "made to reset, by dependency": (
        b"",
        streams(
            lambda stream: headers(stream) + frame(PRIORITY, 0, stream, bytes([0, 0, stream >> 8, stream & 255, 1]))
        ),
        CALM,
    ),
    "streams beyond the limit": (b"", streams(lambda stream: headers(stream, POST, False)), CALM),
    "PING": (b"", lambda number: ping(), CALM),
    "PING answers": (b"", lambda number: ping(flags=1), CALM),
    "SETTINGS": (b"", lambda number: settings(), CALM),
    "SETTINGS that move all windows": (b"", lambda number: settings((4, 65535 + number % 2)), CALM),
    "SETTINGS that resize the table": (b"", lambda number: settings((1, number % 4096)), CALM),
    "SETTINGS answers": (b"", lambda number: frame(4, 1, 0), CALM),
    "PRIORITY": (b"", lambda number: frame(PRIORITY, 0, 1, bytes(4) + b"\1"), CALM),
    "unknown frames": (b"", lambda number: frame(77, 0, 0), CALM),
    "GOAWAY": (headers(1, POST, False), lambda number: frame(7, 0, 0, bytes(8)), CALM),
    "empty DATA": (headers(1, POST, False), lambda number: data(1), CALM),
    "padding alone": (headers(1, POST, False), lambda number: frame(DATA, 8, 1, b"\1\0"), CALM),
    "window updates": (headers(1, POST, False), lambda number: window_update(1, 1), CALM),
    "window updates of the connection": (b"", lambda number: window_update(0, 1), CALM),
    "window updates of closed streams": (headers(1) + rst_stream(1), lambda number: window_update(1, 1), CALM),
    "RST_STREAM of closed streams": (headers(1) + rst_stream(1), lambda number: rst_stream(1), CALM),
    "HEADERS on a stream that was reset": (headers(1) + data(1, b"x"), lambda number: headers(1), CALM),
    "CONTINUATION": (frame(HEADERS, 1, 1, literal(GET)), lambda number: frame(CONTINUATION, 0, 1, b"x" * 100), CALM),
    "empty CONTINUATION": (frame(HEADERS, 1, 1, literal(GET)), lambda number: frame(CONTINUATION, 0, 1), CALM),
    "large CONTINUATION": (
        frame(HEADERS, 1, 1, literal(GET)),
        lambda number: frame(CONTINUATION, 0, 1, bytes(16384)),
        CALM,
    ),
}


def endure(client: Client, flood: Callable[[int], bytes], most: int) -> int:
    """Send a flood until the connection ends; how many pieces of it that took."""
    for number in range(most):
        client.send(flood(number))
        if client.peer.saw != "open":
            return number + 1
    raise AssertionError("the flood goes on for ever")


@pytest.mark.parametrize("name", FLOODS)
def test_flood(name: str) -> None:
    """A flood ends its connection after a bounded number of frames, and none of its streams is left."""
    before, flood, code = FLOODS[name]
    with proxy(limits=Limits(concurrent_streams=16)) as data_path:
        client = Client(data_path)
        client.send(before)
        assert client.peer.saw == "open"
        endure(client, flood, FULL + 10)
        assert client.read()[-1].split()[::3] == ["GOAWAY", code]
        assert not client.connection.engine.streams
        data_path.network.settle()
        assert data_path.pool.open == 0, "an upstream connection is left"


@pytest.mark.parametrize("name", FLOODS)
def test_flood_in_one_read(name: str) -> None:
    """The same arriving at once: nothing after the end is looked at, and no more than a moment is spent on it."""
    before, flood, code = FLOODS[name]
    with proxy(limits=Limits(concurrent_streams=16)) as data_path:
        client = Client(data_path)
        client.send(before)
        client.peer.piece = 1 << 20
        client.send(b"".join(map(flood, range(FULL + 10))))
        assert client.read()[-1].split()[::3] == ["GOAWAY", code]
        assert client.peer.saw != "open"


def test_reset_in_the_read_that_opened_it_costs_no_upstream() -> None:
    """A request that is taken back before it was begun is never begun."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(b"".join(headers(n) + rst_stream(n) for n in range(1, 99, 2)))
        assert data_path.network.dialled == []
        assert client.alive


def test_browser_that_cancels_much() -> None:
    """A page left behind with a hundred requests under way, again and again, is nothing to end a connection for."""
    with proxy() as data_path:
        client = Client(data_path)
        for page in range(20):
            ids = range(1 + 200 * page, 201 + 200 * page, 2)
            client.send(b"".join(map(headers, ids)))
            client.send(b"".join(map(rst_stream, ids)))
            data_path.pass_time(20)
        assert client.alive


def test_client_that_reads_little_at_a_time() -> None:
    """Go's offers anew what it read, on the stream and on the connection, each 4 KiB: that is no flood."""
    size = 32 * 2**20
    with proxy() as data_path:
        client = Client(data_path, hello=settings((4, 2**22)) + window_update(0, 2**22))
        client.send(headers(1))
        data_path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            data_path.upstream.send(bytes(65536))
            client.send((window_update(0, 4096) + window_update(1, 4096)) * 16)
            client.read()
            client.frames.bodies.clear()
        assert 1 in client.frames.ended
        assert client.alive


def test_requests_served_pay_for_what_came_with_them() -> None:
    """A client that sends two window updates and a PING for every answer, on and on, is no flood."""
    with proxy(limits=Limits(requests_per_connection=10**9)) as data_path:
        data_path.respond()
        client = Client(data_path)
        for stream in range(1, 6000, 2):
            client.send(headers(stream) + window_update(0, 2) + window_update(stream, 2) + ping())
        assert client.alive
        assert client.frames.answer(5999)[0] == 200


def indexed(size: int, times: int) -> bytes:
    """A block that puts one large field into the table and repeats it by a byte each."""
    length = size - 127
    value = b"\x7f" + bytes([length % 128 + 128, length // 128]) + b"v" * size
    return literal(GET) + b"\x40\x01a" + value + b"\xbe" * times


def test_hpack_bomb() -> None:
    """A few KB that unfold into megabytes end the connection, unfolded no further than a bound."""
    with proxy() as data_path:
        client = Client(data_path)
        lines = client.ask(frame(HEADERS, 5, 1, indexed(3800, 8000)))
        assert lines[-1].split()[::3] == ["GOAWAY", CALM]


def test_header_list_too_large() -> None:
    """What is larger than allowed, but no bomb, is answered with 431, and the connection goes on."""
    with proxy() as data_path:
        data_path.respond()
        client = Client(data_path)
        client.send(frame(HEADERS, 5, 1, indexed(3800, 12)) + headers(3))
        client.read()
        assert client.frames.answer(1)[0] == 431
        assert client.frames.answer(3)[0] == 200
        assert client.frames.settings[6] == 32 * 1024 + 32 * 100


def test_too_many_fields_and_too_long_a_target() -> None:
    """The limits of HTTP/1.1 hold here too."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, (*GET, *[(b"a", b"1")] * 101)))
        client.send(headers(3, (*GET[:3], (b":path", b"/" + b"x" * 8192))))
        client.read()
        assert client.frames.answer(1)[0] == 431
        assert client.frames.answer(3)[0] == 414


def open_with_shut_windows(data_path: Proxy, count: int) -> Client:
    """A client that asks much and lets nothing be sent; every application sends what it can."""
    client = Client(data_path, hello=settings((4, 0)))
    client.send(b"".join(headers(1 + 2 * n) for n in range(count)))
    for application in data_path.upstreams:
        application.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(10**7))
    return client


def test_windows_held_shut() -> None:
    """Streams that nothing may be sent on hold a bounded amount, and end with their time; many end the connection."""
    with proxy() as data_path:
        client = open_with_shut_windows(data_path, 30)
        held = [stream.pending_bytes for stream in client.connection.engine.streams.values()]
        assert len(held) == 30
        assert max(held) <= 64 * 1024
        data_path.pass_time(data_path.timeouts.body + 2)
        assert client.read()[-1].split()[::3] == ["GOAWAY", CALM]
        assert data_path.pool.open == 0


def test_one_window_held_shut() -> None:
    """A single one costs only its stream: a video on pause."""
    with proxy() as data_path:
        client = open_with_shut_windows(data_path, 1)
        data_path.pass_time(data_path.timeouts.body + 2)
        assert [line for line in client.read() if line.startswith("RST")] == ["RST_STREAM 1 CANCEL"]
        assert client.alive
        assert data_path.pool.open == 0


def test_windows_opened_by_bytes() -> None:
    """An answer fetched byte by byte ends as a flood of window updates does."""
    with proxy() as data_path:
        client = open_with_shut_windows(data_path, 1)
        endure(client, lambda number: window_update(1, 1), FULL + 10)
        assert client.read()[-1].split()[::3] == ["GOAWAY", CALM]


def test_client_that_does_not_read() -> None:
    """Of one that asks on and takes nothing no more is read once so much waits for it."""
    with proxy(limits=Limits(requests_per_connection=10**9)) as data_path:
        data_path.respond(b"HTTP/1.1 204 No Content\r\nETag: " + b"x" * 1000 + b"\r\n\r\n")
        client = Client(data_path)
        client.peer.capacity = 0
        for stream in range(1, 4000, 2):
            client.send(headers(stream))
        assert len(client.peer.outgoing) > 10_000, "all was read"
        assert len(client.peer.transport.dataBuffer) + client.peer.transport._tempDataLen < 600_000
        client.peer.capacity = float("inf")
        client.read()
        assert len(client.read()) > 400, "what waited does not come"


def test_client_that_never_reads_again() -> None:
    """Its time runs out."""
    with proxy() as data_path:
        client = Client(data_path)
        client.peer.capacity = 0
        client.send(headers(1))
        data_path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        data_path.pass_time(data_path.timeouts.body + 2)
        assert client.peer.saw == "reset"
        assert data_path.pool.open == 0


def test_small_frames_by_the_thousand() -> None:
    """An upload in crumbs is taken a thousand frames a turn, and whole; nothing more is read meanwhile."""
    with proxy() as data_path:
        data_path.respond()
        client = Client(data_path)
        client.peer.piece = 1 << 20
        client.send(headers(1, POST, False) + data(1, b"xy") * 5000 + data(1, end=True))
        client.read()
        assert client.frames.answer(1)[0] == 200
        assert data_path.applications[0].requests[0][3] == b"xy" * 5000
        assert client.alive


def test_patience_comes_back_with_time() -> None:
    """Points run out, and time brings them back, never more than there were."""
    now = 0.0
    patience = Patience(lambda: now)
    patience.earn(10**6)
    for _ in range(FULL // RESET):
        patience.spend(RESET, "resets")
    with pytest.raises(Http2ConnectionError, match="resets"):
        patience.spend(RESET, "resets")
    now = FULL / A_SECOND * 10
    patience.spend(RESET, "resets")
    for _ in range(FULL // RESET):
        patience.spend(RESET, "resets")
    with pytest.raises(Http2ConnectionError):
        patience.spend(RESET, "resets")
