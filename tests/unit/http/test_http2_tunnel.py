"""WebSocket over HTTP/2 (RFC 8441): streams that become tunnels, and all that can keep them from it."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

import pytest

from appliance.config import Limits, Timeouts
from tests.support.http2 import GET, Client, changed, data, headers, rst_stream, settings, window_update
from tests.support.proxying import OK, Proxy, proxy
from tests.support.transports import Peer

CONNECT = (
    *changed(GET, method=b"CONNECT", path=b"/chat"),
    (b":protocol", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-protocol", b"chat"),
    (b"origin", b"https://example.com"),
)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def key_in(request: bytes) -> bytes:
    """The key of an upgrade, of which there is exactly one."""
    assert request.lower().count(b"sec-websocket-key") == 1
    return request.lower().partition(b"sec-websocket-key: ")[1] and next(
        line.partition(b": ")[2] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
    )


def agreement(request: bytes) -> bytes:
    """What an application answers that agrees."""
    proof = b64encode(sha1(key_in(request) + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )


def tunnel(data_path: Proxy, hello: bytes = b"") -> tuple[Client, Peer]:
    """A tunnel on stream 1, and its application."""
    client = Client(data_path, hello=settings() + hello)
    client.send(headers(1, CONNECT, False))
    application = data_path.upstream
    application.send(agreement(application.take()))
    assert client.read() == ["HEADERS 1 200"]
    return client, application


def test_handshake() -> None:
    """An upgrade to the application, a plain 200 to the client; the key is nobody's but ours."""
    with proxy() as data_path:
        client = Client(data_path)
        assert client.frames.settings[8] == 1
        client.send(headers(1, (*CONNECT, (b"sec-websocket-key", b"the client's")), False))
        request = data_path.upstream.take()
        assert request.startswith(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n")
        assert b"Connection: upgrade\r\nUpgrade: websocket\r\n" in request
        assert b"origin: https://example.com\r\n" in request
        assert b"the client's" not in request
        data_path.upstream.send(agreement(request))
        client.read()
        assert client.frames.fields[1] == [[(b":status", b"200"), (b"sec-websocket-protocol", b"chat")]]
        assert 1 not in client.frames.ended


def test_bytes_both_ways() -> None:
    """They go through as they are, those too that the client sent before it had the answer."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, CONNECT, False) + data(1, b"early "))
        client.send(data(1, b"bird, "))
        application = data_path.upstream
        request = application.take()
        assert request.endswith(b"\r\n\r\n")
        application.send(agreement(request) + b"welcome")
        client.send(data(1, b"and more"))
        assert application.take() == b"early bird, and more"
        client.read()
        assert client.frames.bodies[1] == b"welcome"
        application.send(b"!")
        client.read()
        assert client.frames.bodies[1] == b"welcome!"


def test_client_ends_first() -> None:
    """Its end is the application's half-close; what that still says arrives."""
    with proxy() as data_path:
        client, application = tunnel(data_path)
        client.send(data(1, b"bye", end=True))
        assert (application.take(), application.saw) == (b"bye", "finished")
        application.send(b"bye too")
        application.finish()
        assert client.read() == ["DATA 1 7", "DATA 1 0 end"]
        assert not client.connection.engine.streams
        assert client.alive


def test_application_ends_first() -> None:
    """Its half-close is the end towards the client, which may still speak."""
    with proxy() as data_path:
        client, application = tunnel(data_path)
        application.send(b"bye")
        application.finish()
        assert client.read() == ["DATA 1 3", "DATA 1 0 end"]
        client.send(data(1, b"bye too", end=True))
        assert application.take() == b"bye too"
        assert not client.connection.engine.streams
        assert client.alive
        data_path.pass_time(2)
        assert data_path.pool.open == 0


def test_end_before_the_agreement() -> None:
    """A client may have said all before it has the answer."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, CONNECT, False) + data(1, b"hello", end=True))
        application = data_path.upstream
        application.send(agreement(application.take()))
        assert (application.take(), application.saw) == (b"hello", "finished")


def test_client_breaks_off() -> None:
    """A reset stream is a reset connection to the application, and no other's affair."""
    with proxy() as data_path:
        client, application = tunnel(data_path)
        client.send(rst_stream(1))
        assert application.saw == "reset"
        assert client.alive


@pytest.mark.parametrize("ended", [False, True])
def test_application_breaks_off(ended: bool) -> None:
    """The stream ends, and the client is told to stop."""
    with proxy() as data_path:
        client, application = tunnel(data_path)
        if ended:
            application.finish()
            client.read()
        client.send(data(1, b"x"))
        application.reset()
        data_path.network.settle()
        client.send(data(1, b"x"))
        lines = client.read()
        assert any(line.startswith("RST_STREAM 1") for line in lines), lines
        assert client.alive
        assert not client.connection.engine.streams


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", 302),
        (OK, 502),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: c3R1ZmYgdGhhdCBpcyBub3QgcmlnaHQ=\r\n\r\n",
            502,
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n", 502),
    ],
)
def test_application_does_not_agree(answer: bytes, status: int) -> None:
    """Refusals and redirects are passed on; what is neither, nor a proven agreement, is never a 2xx."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, CONNECT, False) + data(1, b"early"))
        data_path.upstream.send(answer)
        lines = client.read()
        assert client.frames.answer(1)[::2] == (status, True)
        assert lines[-1] == "RST_STREAM 1 NO_ERROR"
        assert client.alive


def test_nobody_to_agree() -> None:
    """An application that is not there is 502; an unknown site 404."""
    with proxy() as data_path:
        del data_path.network.listeners["127.0.0.1", 8000]
        client = Client(data_path)
        client.send(headers(1, CONNECT, False) + headers(3, changed(CONNECT, authority=b"nobody.example"), False))
        data_path.pass_time(30)
        client.read()
        assert client.frames.answer(1)[0] == 502
        assert client.frames.answer(3)[0] == 404


def test_windows_and_memory() -> None:
    """A client that takes nothing holds the application up, and the other way round."""
    with proxy() as data_path:
        client, application = tunnel(data_path)
        application.send(bytes(1_000_000))
        assert len(application.outgoing) > 600_000
        client.read()
        assert len(client.frames.bodies[1]) == 65535
        client.send(window_update(0, 10**7) + window_update(1, 10**7))
        for _ in range(5):
            client.read()
        assert len(client.frames.bodies[1]) == 1_000_000
        application.capacity = 0
        client.frames.credit.clear()
        for _ in range(20):
            client.send(data(1, bytes(16384)))
        client.read()
        assert "RST_STREAM 1 FLOW_CONTROL_ERROR" in client.frames.lines
        assert application.saw == "reset"


def test_silence() -> None:
    """Is allowed, or not, by the time for it; the connection is asked by PING meanwhile."""
    with proxy(timeouts=Timeouts(websocket_idle=30, idle=1000)) as data_path:
        client, application = tunnel(data_path)
        for _ in range(5):
            data_path.pass_time(20)
            client.send(data(1, b"x"))
            data_path.pass_time(20)
            application.send(b"y")
        assert client.alive
        data_path.pass_time(33)
        assert client.read()[-1] == "RST_STREAM 1 CANCEL"
        assert application.saw == "reset"
    with proxy(timeouts=Timeouts(idle=10_000)) as data_path:
        client, application = tunnel(data_path)
        data_path.pass_time(5000)
        application.send(b"still here")
        client.read()
        assert client.frames.bodies[1] == b"still here"


def test_window_held_shut() -> None:
    """A tunnel whose client takes nothing ends as an answer would."""
    with proxy() as data_path:
        client, application = tunnel(data_path, settings((4, 0)))
        application.send(b"hello")
        data_path.pass_time(data_path.timeouts.body + 3)
        assert "RST_STREAM 1 CANCEL" in client.read()
        assert application.saw == "reset"


MESSAGE = b"\x82\x05hello"
GOODBYE = b"\x88\x02\x03\xe9"


def test_drained() -> None:
    """A client is told between two frames, and gets some seconds to close; the application hears what it says."""
    with proxy() as data_path:
        client, application = tunnel(data_path)
        application.send(MESSAGE[:3])
        client.connection.drain()
        data_path.network.settle()
        client.read()
        assert client.frames.bodies[1] == MESSAGE[:3]
        application.send(MESSAGE[3:] + MESSAGE)
        client.read()
        assert client.frames.bodies[1] == MESSAGE + GOODBYE
        client.send(data(1, b"bye"))
        assert application.take() == b"bye"
        data_path.pass_time(7)
        assert "RST_STREAM 1 CANCEL" in client.read()
        assert application.saw != "open"


def test_drained_at_a_boundary() -> None:
    """It is told at once, and nothing follows."""
    with proxy() as data_path:
        client, application = tunnel(data_path)
        client.connection.drain()
        data_path.network.settle()
        client.read()
        assert client.frames.bodies[1] == GOODBYE
        application.send(MESSAGE)
        client.read()
        assert client.frames.bodies[1] == GOODBYE


def test_drained_before_the_agreement() -> None:
    """It is told as soon as it is a tunnel."""
    with proxy() as data_path:
        client = Client(data_path)
        client.send(headers(1, CONNECT, False))
        client.connection.drain()
        data_path.network.settle()
        application = data_path.upstream
        application.send(agreement(application.take()))
        client.read()
        assert client.frames.bodies[1] == GOODBYE


def test_tunnels_outlive_the_number_of_requests() -> None:
    """Other requests that come to so many end their connection, as soon as its tunnels have ended by themselves."""
    with proxy(limits=Limits(requests_per_connection=3)) as data_path:
        client, application = tunnel(data_path)
        for stream in (3, 5):
            client.send(headers(stream))
            data_path.upstream.send(OK)
        application.send(MESSAGE)
        client.read()
        assert client.frames.bodies[1] == MESSAGE
        application.finish()
        client.send(data(1, end=True))
        assert client.peer.saw == "finished"
