"""Priorities (RFC 9218): in which order answers go out when they cannot all at once."""

from __future__ import annotations

import pytest

from appliance.http.http2bounds import FULL
from appliance.http.http2priority import Priority, read_priority
from tests.support.http2 import GET, Client, frame, headers, rst_stream, settings, window_update
from tests.support.proxying import proxy

PRIORITY_UPDATE = 16
SIZE = 40_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", (3, False)),
        (b"u=0", (0, False)),
        (b"u=5, i", (5, True)),
        (b"i=?1 , u=7", (7, True)),
        (b"i, i=?0", (3, False)),
        (b"u=1;a=b, x=y", (1, False)),
        (b"u=8, i=1", (3, False)),
        (b"u=-1", (3, False)),
        (b"u", (3, False)),
        (b",,;=,\xff", (3, False)),
        (b"a," * 8 + b"u=0", (3, False)),
    ],
)
def test_read(value: bytes, expected: tuple[int, bool]) -> None:
    """What is known counts, the rest does not."""
    assert read_priority(value) == Priority(*expected)


def update(stream: int, value: bytes, on: int = 0) -> bytes:
    return frame(PRIORITY_UPDATE, 0, on, stream.to_bytes(4, "big") + value)


def order(priorities: dict[int, bytes | None], *more: bytes) -> list[int]:
    """The streams of DATA frames, when answers wait for a window that opens at last."""
    with proxy() as path:
        path.respond(ANSWER)
        client = Client(path, hello=settings((4, 10**6)))
        client.send(headers(1))
        client.send(headers(3))  # and so the connection's window is used up
        for stream, value in priorities.items():
            client.send(headers(stream, (*GET, (b"priority", value)) if value is not None else GET))
        client.send(b"".join(more))
        client.read()
        before = len(client.frames.sizes)
        for _ in range(40):
            client.ask(window_update(0, 16384))
        assert all(client.frames.answer(stream)[2] for stream in priorities)
        return [stream for stream, _ in client.frames.sizes[before:] if stream in priorities]


def runs(streams: list[int]) -> list[int]:
    """Each stream once for every time that its turn came."""
    return [stream for at, stream in enumerate(streams) if at == 0 or streams[at - 1] != stream]


def test_urgency() -> None:
    """The most urgent first, whoever asked first."""
    assert runs(order({5: b"u=5", 7: b"u=0", 9: b"u=3"})) == [7, 9, 5]


def test_one_after_the_other() -> None:
    """Of one urgency, answers of which pieces are of no use go in the order of their requests."""
    assert runs(order({5: b"u=3", 7: b"u=3", 9: b""})) == [5, 7, 9]


@pytest.mark.parametrize("value", [b"i", None])
def test_in_turns(value: bytes | None) -> None:
    """Answers of which pieces are of use take turns, and so do those of clients that say nothing."""
    assert order({5: value, 7: value, 9: value})[:6] == [5, 7, 9, 5, 7, 9]


def test_update() -> None:
    """PRIORITY_UPDATE changes what is under way, and what is to come."""
    assert runs(order({5: b"u=3", 7: b"u=3", 9: b"u=3"}, update(9, b"u=1"), update(5, b"u=6"))) == [9, 7, 5]
    with proxy() as path:
        path.respond(ANSWER)
        client = Client(path, hello=settings((4, 0)))
        client.send(update(3, b"u=0") + b"".join(update(stream, b"u=7") for stream in range(5, 99, 2)))
        client.send(headers(1) + headers(3) + update(99, b"u=0") + update(2**31 - 1, b"u=0"))
        client.send(settings((4, 10**6)))
        client.read()
        assert client.frames.sizes[0][0] == 3
        assert client.alive


def test_order_of_requests() -> None:
    """An answer that had to wait for its application goes before those that were asked for after it."""
    with proxy() as path:
        client = Client(path, hello=settings((4, 10**6)))
        for stream in (1, 3, 5):
            client.send(headers(stream, (*GET, (b"priority", b"u=2"))))
        path.upstreams[0].send(ANSWER)
        path.upstreams[2].send(ANSWER)
        path.upstreams[1].send(ANSWER)
        for _ in range(10):
            client.ask(window_update(0, 16384))
        assert runs([stream for stream, _ in client.frames.sizes]) == [1, 5, 3, 5]


def test_update_of_what_is_over() -> None:
    """It comes too late, and changes nothing."""
    with proxy() as path:
        client = Client(path)
        client.send(headers(1) + rst_stream(1) + update(1, b"u=0"))
        assert client.alive


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (update(1, b"u=0", on=1), "PROTOCOL_ERROR"),
        (update(0, b"u=0"), "PROTOCOL_ERROR"),
        (update(2, b"u=0"), "PROTOCOL_ERROR"),
        (frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0"), "FRAME_SIZE_ERROR"),
        (update(1, b"u=0") * 2 * FULL, "ENHANCE_YOUR_CALM"),
    ],
)
def test_broken_updates(sent: bytes, code: str) -> None:
    """A malformed one ends the connection; so does a flood."""
    with proxy() as path:
        client = Client(path)
        assert client.ask(sent)[-1] == f"GOAWAY 0 0 {code}"


def test_reset_while_waiting() -> None:
    """An answer that waits for its turn is forgotten when its client resets it."""
    with proxy() as path:
        path.respond(ANSWER)
        client = Client(path, hello=settings((4, 10**6)))
        client.send(
            b"".join(headers(stream, (*GET, (b"priority", b"u=%d" % (stream % 7)))) for stream in range(1, 20, 2))
        )
        client.send(b"".join(rst_stream(stream) for stream in range(5, 20, 2)))
        client.ask(window_update(0, 10**6))
        assert not client.connection.engine.streams
        assert client.alive
