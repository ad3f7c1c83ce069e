"""WebSockets through the whole, TLS included: many messages, a huge one, and the limit of silence."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.appliance import ROOT, Appliance
from tests.support.certificates import make_certificate, shared_authority
from tests.support.processes import Program, free_port
from tests.support.websocket import WebSocket, open_websocket

ECHO = """\
import sys
from websockets.sync.server import serve

def echo(connection):
    for message in connection:
        connection.send(message)

with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None, compression=None) as server:
    server.serve_forever()
"""
MESSAGES = 10_000
HUGE = 64 * 1024 * 1024
ALLOWED_GROWTH = 32 * 1024 * 1024


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Appliance]]:
    """Starts the appliance before an echo server, with more of a configuration."""
    port = free_port()
    appliance = Appliance(tmp_path)
    with Program([sys.executable, "-c", ECHO, str(port)], tmp_path / "echo.log", folder=ROOT) as echo:
        echo.wait_for_port(port)

        def started(more: str = "") -> Appliance:
            upstream = f"http://127.0.0.1:{port}"
            appliance.configure([(["one.test"], upstream)], "https://127.0.0.1:1/directory", more=more)
            appliance.keep("one.test", make_certificate(["one.test"]))
            return appliance.start()

        yield started
        appliance.stop()


def client(appliance: Appliance) -> WebSocket:
    """A WebSocket over TLS."""
    return open_websocket(appliance.https_port, shared_authority().pem, max_size=None, compression=None)


def test_ten_thousand_messages(start: Callable[[str], Appliance]) -> None:
    """All come back, in order, however they are cut; up to a hundred are under way at a time."""
    chance = random.Random(7)
    messages = [chance.randbytes(chance.choice((0, 1, 125, 126, 1000, 5000))) for _ in range(MESSAGES)]
    ahead = threading.Semaphore(100)
    with client(start("")) as connection:

        def send() -> None:
            for message in messages:
                ahead.acquire()
                connection.send(message)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        for message in messages:
            assert connection.recv(timeout=20) == message
            ahead.release()
        sender.join(10)


def test_a_huge_message(start: Callable[[str], Appliance]) -> None:
    """64 MiB there and back, through little memory."""
    appliance = start("")
    message = random.Random(8).randbytes(HUGE)
    with client(appliance) as connection:
        connection.send(b"warm")
        assert connection.recv(timeout=10) == b"warm"
        before = appliance.resident()
        connection.send(message)
        assert connection.recv(timeout=60) == message
        assert appliance.peak_resident() - before < ALLOWED_GROWTH


def test_silence(start: Callable[[str], Appliance]) -> None:
    """Under a limit a WebSocket lives as long as something passes, and ends after so much silence."""
    with client(start("[timeouts]\nwebsocket_idle = 3\n")) as connection:
        for _ in range(3):
            time.sleep(1.5)  # the test's subject is time
            connection.send("x")
            assert connection.recv(timeout=5) == "x"
        began = time.monotonic()
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=10)
        assert 2.9 < time.monotonic() - began < 6
