"""After a 101 the connection carries another protocol: bytes both ways, and the end of either half."""

from __future__ import annotations

import pytest

from appliance.config import Timeouts
from tests.support.proxying import OK, REQUEST, Proxy, proxy, read_responses
from tests.support.transports import FINISHED, OPEN, RESET, Peer

ASK = b"GET /ws HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Key: x\r\n\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: y\r\n\r\n"
)


def switched(path: Proxy) -> tuple[Peer, Peer]:
    """A tunnel's two ends."""
    client = path.client()
    client.send(ASK)
    upstream = path.upstream
    upstream.take()
    upstream.send(SWITCH)
    client.take()
    return client, upstream


def test_handshake() -> None:
    """The wish and the consent are passed on with their own fields, Connection and Upgrade among them."""
    with proxy() as path:
        client = path.client()
        client.send(ASK)
        received = path.upstream.take()
        assert received.endswith(b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert b"X-Key: x\r\n" in received
        path.upstream.send(SWITCH)
        assert client.take() == (
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: y\r\n"
            b"Connection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"
        )


def test_bytes() -> None:
    """Bytes pass both ways as they are, whatever they look like."""
    with proxy() as path:
        client, upstream = switched(path)
        client.send(REQUEST % 1)
        assert upstream.take() == REQUEST % 1
        upstream.send(OK)
        assert client.take() == OK
        assert path.network.dialled == [("127.0.0.1", 8000)]


def test_bytes_sent_ahead() -> None:
    """What either side sent before it could know of the switch is not lost."""
    with proxy() as path:
        client = path.client()
        client.send(ASK + b"ahead")
        path.upstream.take()
        path.upstream.send(SWITCH + b"at once")
        assert path.upstream.take() == b"ahead"
        assert client.take().endswith(b"\r\n\r\nat once")


@pytest.mark.parametrize(
    "answer",
    [
        SWITCH.replace(b"WebSocket\r", b"other\r"),
        SWITCH.replace(b"Upgrade: WebSocket\r\n", b""),
        SWITCH.replace(b"WebSocket\r", b"websocket, other\r"),
    ],
)
def test_another_protocol(answer: bytes) -> None:
    """A switch to what was not asked for is no answer: 502."""
    with proxy() as path:
        client = path.client()
        client.send(ASK)
        path.upstream.send(answer)
        assert read_responses(client.take(), [b"GET"], False)[0][0] == 502
        assert path.upstream.saw == RESET


def test_declined() -> None:
    """An application that does not switch answers as ever, and the connection goes on."""
    with proxy() as path:
        client = path.client()
        assert path.exchange(client, ASK, OK)[1] == OK
        assert path.exchange(client, REQUEST % 2, OK)[1] == OK
        assert len(path.upstreams) == 1


def test_not_before_the_request_is_whole() -> None:
    """While the body of the request still comes there is nothing to switch to."""
    with proxy() as path:
        client = path.client()
        client.send(ASK.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n"))
        path.upstream.send(SWITCH)
        assert read_responses(client.take(), [b"GET"], True)[0][0] == 502


def test_client_ends_first() -> None:
    """The client's end is passed on; the application's bytes still come, until it ends too."""
    with proxy() as path:
        client, upstream = switched(path)
        client.send(b"bye")
        client.finish()
        assert (upstream.take(), upstream.saw) == (b"bye", FINISHED)
        upstream.send(b"still here")
        assert (client.take(), client.saw) == (b"still here", OPEN)
        upstream.outgoing += b"bye"
        upstream.finish()
        assert (client.take(), client.saw) == (b"bye", FINISHED)
        assert upstream.lost == FINISHED
        assert len(path.deadlines) == path.pool.open == 0


def test_application_ends_first() -> None:
    """And the other way round."""
    with proxy() as path:
        client, upstream = switched(path)
        upstream.send(b"bye")
        upstream.finish()
        assert (client.take(), client.saw) == (b"bye", FINISHED)
        client.send(b"still here")
        assert (upstream.take(), upstream.saw) == (b"still here", OPEN)
        client.outgoing += b"bye"
        client.finish()
        assert (upstream.take(), upstream.saw) == (b"bye", FINISHED)
        assert len(path.deadlines) == path.pool.open == 0


def test_last_bytes_reach_a_slow_application() -> None:
    """When both have ended, what is still queued for the application is sent, as long as it moves."""
    with proxy() as path:
        client, upstream = switched(path)
        upstream.capacity = 1000
        upstream.finish()
        client.outgoing += b"x" * 60_000
        client.finish()
        got = b""
        while piece := upstream.take():
            got += piece
            path.pass_time(30)
        assert len(got) == 60_000
        assert upstream.lost == FINISHED
        assert path.pool.open == 0


def test_last_bytes_of_an_application_that_stops_reading() -> None:
    """If it does not move any more it is cut off."""
    with proxy() as path:
        client, upstream = switched(path)
        upstream.capacity = 1000
        upstream.finish()
        client.outgoing += b"x" * 60_000
        client.finish()
        path.pass_time(70)
        assert upstream.lost == RESET
        assert len(path.deadlines) == path.pool.open == 0


def test_ended_before_the_switch() -> None:
    """A client that closed its half before the answer came has ended its half of the tunnel."""
    with proxy() as path:
        client = path.client()
        client.outgoing += ASK + b"ahead"
        client.finish()
        path.upstream.send(SWITCH)
        assert path.upstream.take().endswith(b"\r\n\r\nahead")
        assert path.upstream.saw == FINISHED
        path.upstream.send(b"late")
        assert client.take().endswith(b"late")
        path.upstream.finish()
        assert client.saw == FINISHED
        assert path.pool.open == 0


def test_broken_off() -> None:
    """Either side's reset ends the other's connection."""
    with proxy() as path:
        client, upstream = switched(path)
        client.reset()
        assert upstream.saw == RESET
        client, upstream = switched(path)
        upstream.reset()
        assert client.saw == FINISHED
        client.finish()
        assert len(path.deadlines) == path.pool.open == 0


def test_back_pressure() -> None:
    """A side that does not read stops the other from being read: memory stays flat, and nothing is lost."""
    with proxy() as path:
        for swap in (False, True):
            ends = switched(path)
            reader, writer = ends[::-1] if swap else ends
            reader.capacity = 10_000
            before = reader.total
            for _ in range(10):
                writer.send(b"x" * 100_000)
            transport = reader.transport
            assert len(transport.dataBuffer) + transport._tempDataLen < 200_000
            assert len(writer.outgoing) > 800_000
            writer.finish()
            while reader.take():
                pass
            assert reader.total - before == 1_000_000
            assert reader.saw == FINISHED


def test_lives_long() -> None:
    """A quiet tunnel lives on."""
    with proxy() as path:
        client, upstream = switched(path)
        path.pass_time(10_000)
        client.send(b"ping")
        assert upstream.take() == b"ping"
        upstream.send(b"pong")
        assert client.take() == b"pong"


@pytest.mark.parametrize("swap", [False, True])
def test_stalled(swap: bool) -> None:
    """A side that takes nothing of what is for it for a minute is cut off, and so is the other."""
    with proxy(timeouts=Timeouts(body=60)) as path:
        ends = switched(path)
        reader, writer = ends[::-1] if swap else ends
        reader.capacity = 0
        writer.send(b"x" * 200_000)
        path.pass_time(59)
        assert (reader.saw, writer.saw) == (OPEN, OPEN)
        path.pass_time(63)
        assert (reader.saw, writer.saw) == (RESET, RESET)
        assert len(path.deadlines) == path.pool.open == 0


def test_silence() -> None:
    """By default both ends may be silent for as long as they like."""
    with proxy() as path:
        client, upstream = switched(path)
        path.pass_time(7200)
        assert (client.saw, upstream.saw) == (OPEN, OPEN)


def test_silence_for_too_long() -> None:
    """With a limit, bytes either way begin the time anew; when it is over both ends are cut off."""
    with proxy(timeouts=Timeouts(websocket_idle=100)) as path:
        client, upstream = switched(path)
        for one, other in ((client, upstream), (upstream, client)) * 2:
            path.pass_time(90)
            one.send(b"x")
            assert other.take() == b"x"
        path.pass_time(98)
        assert (client.saw, upstream.saw) == (OPEN, OPEN)
        path.pass_time(4)
        assert (client.saw, upstream.saw) == (RESET, RESET)
        assert len(path.deadlines) == 0


# --- the end of the service

MESSAGE = b"\x82\x05hello"
GOODBYE = b"\x88\x02\x03\xe9"
CLIENTS_GOODBYE = b"\x88\x82\0\0\0\0\x03\xe9"


def test_drained_between_frames() -> None:
    """The client is told; its answer reaches the application, whose own is kept from it; then both close."""
    with proxy() as path:
        client, upstream = switched(path)
        upstream.send(MESSAGE)
        client.protocol.drain()
        assert client.take() == MESSAGE + GOODBYE
        client.send(CLIENTS_GOODBYE)
        assert upstream.take() == CLIENTS_GOODBYE
        upstream.send(GOODBYE)
        upstream.finish()
        assert client.take() == b""
        client.finish()
        assert client.saw == FINISHED


def test_drained_within_a_frame() -> None:
    """It is told as soon as the frame is over, and hears nothing more of the application."""
    with proxy() as path:
        client, upstream = switched(path)
        upstream.send(MESSAGE[:4])
        client.protocol.drain()
        assert client.take() == MESSAGE[:4]
        upstream.send(MESSAGE[4:] + MESSAGE)
        assert client.take() == MESSAGE[4:] + GOODBYE
        upstream.send(MESSAGE)
        assert client.take() == b""


def test_drained_and_silent() -> None:
    """A client that does not answer is given some seconds."""
    with proxy() as path:
        client, upstream = switched(path)
        client.protocol.drain()
        path.pass_time(4)
        assert client.saw == OPEN
        path.pass_time(3)
        assert client.saw == RESET
        assert upstream.saw != OPEN


def test_drained_after_the_last_word() -> None:
    """Where the application has closed the WebSocket already, nothing is added."""
    with proxy() as path:
        client, upstream = switched(path)
        upstream.send(b"\x88\x02\x03\xe8")
        client.protocol.drain()
        assert client.take() == b"\x88\x02\x03\xe8"


def test_drained_before_the_switch() -> None:
    """A WebSocket that opens while the service ends is told at once."""
    with proxy() as path:
        client = path.client()
        client.send(ASK)
        client.protocol.drain()
        path.upstream.send(SWITCH)
        assert client.take().endswith(b"\r\n\r\n" + GOODBYE)


def test_other_tunnels_are_closed() -> None:
    """Of other protocols nothing is known, not even how to say goodbye."""
    with proxy() as path:
        client = path.client()
        client.send(ASK.replace(b"websocket", b"smoke"))
        path.upstream.send(SWITCH.replace(b"WebSocket", b"smoke"))
        client.take()
        client.protocol.drain()
        path.network.settle()
        assert client.saw == FINISHED
        assert path.upstream.saw != OPEN


def test_retired() -> None:
    """A tunnel lives on in a process whose place another has taken."""
    with proxy() as path:
        client, upstream = switched(path)
        client.protocol.retire()
        upstream.send(MESSAGE)
        assert client.take() == MESSAGE
        assert client.saw == OPEN


def test_aborted() -> None:
    """Until it is cut off."""
    with proxy() as path:
        client, upstream = switched(path)
        client.protocol.abort()
        path.network.settle()
        client.protocol.abort()
        assert client.saw == RESET
        assert upstream.saw != OPEN
