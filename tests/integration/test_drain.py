"""SIGTERM, with all kinds of clients connected: what each of them sees, and how the process ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from tests.support.appliance import Appliance
from tests.support.applications import Application, slow_begun, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.processes import wait_for
from tests.support.websocket import WebSocket, open_websocket

UNREACHABLE = "https://127.0.0.1:1/directory"


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with uvicorn(tmp_path_factory.mktemp("application")) as application:
        yield application


def started(folder: Path, application: Application, drain: float = 20) -> Appliance:
    """An appliance with one site and this ``drain_timeout``."""
    appliance = Appliance(folder).configure([(["one.test"], application.upstream)], UNREACHABLE)
    appliance.config.write_text(f"drain_timeout = {drain}\n{appliance.config.read_text()}")
    appliance.keep("one.test", make_certificate(["one.test"]))
    return appliance.start()


@contextmanager
def websocket(appliance: Appliance) -> Iterator[WebSocket]:
    """An open WebSocket through the appliance."""
    with open_websocket(appliance.https_port, shared_authority().pem) as opened:
        opened.send("here")
        assert opened.recv(5) == "here"
        yield opened


def test_everybody_is_let_go_in_good_order(tmp_path: Path, application: Application) -> None:
    """Slow answers over both HTTP versions arrive whole, idle ones close at once, a WebSocket is told; status 0."""
    root = tmp_path / "root.pem"
    root.write_bytes(shared_authority().pem)
    appliance = started(tmp_path, application)
    place = f"one.test:{appliance.https_port}"
    curl = ["curl", "-sS", "--http2", "--cacert", root, "--resolve", f"{place}:127.0.0.1", "-w", " %{http_version}"]
    before = slow_begun(application)
    http2 = subprocess.Popen([*curl, f"https://{place}/slow?seconds=5"], stdout=subprocess.PIPE, text=True)
    with (
        http2,
        appliance.client("one.test", shared_authority().pem) as slow,
        appliance.client("one.test", shared_authority().pem) as idle,
        websocket(appliance) as talk,
    ):
        slow.request("GET", "/slow?seconds=5", headers={"Host": "one.test"})
        wait_for(lambda: slow_begun(application) == before + 2, 5, "all reaching the application")
        assert idle.get("/echo").read()
        began = time.monotonic()
        appliance.send(signal.SIGTERM)
        idle.sock.settimeout(5)
        assert idle.sock.recv(1) == b""
        with pytest.raises((ConnectionClosedOK, ConnectionClosedError)) as closed:
            talk.recv(5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert time.monotonic() - began < 4  # while the slow answers are still to come
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", appliance.https_port), 1)
        response = slow.getresponse()
        assert response.getheader("Connection") == "close"
        assert response.read() == b'{"seconds":5.0}'
        assert http2.communicate(timeout=10)[0] == '{"seconds":5.0} 2'
        assert appliance.wait(15) == 0
    assert "cut off" not in appliance.output()
    assert "Traceback" not in appliance.output()


def test_patience_ends(tmp_path: Path, application: Application) -> None:
    """What takes longer than drain_timeout is cut off, and the log says so."""
    appliance = started(tmp_path, application, drain=1)
    before = slow_begun(application)
    with appliance.client("one.test", shared_authority().pem) as slow:
        slow.request("GET", "/slow?seconds=6", headers={"Host": "one.test"})
        wait_for(lambda: slow_begun(application) > before, 5, "the request reaching the application")
        began = time.monotonic()
        appliance.send(signal.SIGTERM)
        assert appliance.wait(10) == 0
        assert 0.9 < time.monotonic() - began < 4
        assert "1 connections cut off after 1 s" in appliance.output()


def test_a_second_signal(tmp_path: Path, application: Application) -> None:
    """It ends everything at once, still with status 0."""
    appliance = started(tmp_path, application)
    before = slow_begun(application)
    with appliance.client("one.test", shared_authority().pem) as slow:
        slow.request("GET", "/slow?seconds=6", headers={"Host": "one.test"})
        wait_for(lambda: slow_begun(application) > before, 5, "the request reaching the application")
        appliance.send(signal.SIGTERM)
        appliance.wait_for(lambda: "SIGTERM: stopping" in appliance.output(), 5, "the first signal")
        began = time.monotonic()
        appliance.send(signal.SIGTERM)
        assert appliance.wait(10) == 0
        assert time.monotonic() - began < 4
