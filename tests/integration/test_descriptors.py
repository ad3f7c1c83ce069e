"""File descriptors run out, on the clients' side and on the applications': nothing crashes or spins, and it passes."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.processes import wait_for
from tests.support.slow import Client, Clients, allow_descriptors, trusting

DESCRIPTORS = 256
CLIENTS = 1000
HALF = b"GET /slow?seconds=6 HTTP/1.1\r\nHost: one.test\r\n"


@pytest.fixture
def root() -> bytes:
    return shared_authority().pem


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Appliance]]:
    """Starts the appliance with few descriptors, and more of a configuration than one site."""
    allow_descriptors(CLIENTS + 1000)
    with uvicorn(tmp_path) as application:
        appliance = Appliance(tmp_path)
        appliance.arguments = ["prlimit", f"--nofile={DESCRIPTORS}", *appliance.arguments]

        def started(more: str = "") -> Appliance:
            appliance.configure([(["one.test"], application.upstream)], "https://127.0.0.1:1/directory", more=more)
            appliance.keep("one.test", make_certificate(["one.test"]))
            return appliance.start()

        yield started
        appliance.stop()


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(appliance: Appliance, tls: ssl.SSLContext, data: bytes) -> Client | None:
    """A client that got as far as sending; None if it was turned away."""
    try:
        client = Client(appliance.https_port, tls)
    except OSError:
        return None
    client.send(data)
    return client


def crowd(appliance: Appliance, root: bytes, data: bytes, count: int = CLIENTS) -> list[Client]:
    """Clients come; those that got in."""
    tls = trusting(root)
    came = [connect(appliance, tls, data) for _ in range(count)]
    return [client for client in came if client is not None]


def spins(appliance: Appliance, seconds: float = 3.0) -> float:
    """How much of a processor it uses."""
    used, began = cpu_seconds(appliance.pid), time.monotonic()
    wait_for(lambda: time.monotonic() - began > seconds, seconds + 5)
    return (cpu_seconds(appliance.pid) - used) / (time.monotonic() - began)


def serves(appliance: Appliance, root: bytes) -> bool:
    """Whether a newcomer is answered."""
    try:
        with appliance.client("one.test", root, timeout=5) as client:
            return client.get("/echo").status == 200
    except OSError:
        return False


def test_more_clients_than_descriptors(start: Callable[[str], Appliance], root: bytes) -> None:
    """As many get in as can be served; the others are closed at once, those within are not harmed."""
    appliance = start("")
    with appliance.client("one.test", root) as early, Clients() as clients:
        assert early.get("/echo").read()
        inside = crowd(appliance, root, b"GET /echo HTTP/1.1\r\n")
        clients.add(*inside)
        assert 40 < len(inside) < DESCRIPTORS / 2
        assert spins(appliance) < 0.3
        assert early.get("/echo").status == 200
        for client in inside:
            client.send(b"Host: one.test\r\n\r\n")
        clients.watch(10, act=lambda: None, every=0.2)
        assert {client.status for client in inside} == {200}
    appliance.wait_for(lambda: serves(appliance, root), 10, "recovery")
    assert "Traceback" not in appliance.output()
    assert "which is the most" in appliance.output()
    assert len(appliance.output()) < 20_000


def test_idle_clients_make_room(start: Callable[[str], Appliance], root: bytes) -> None:
    """Where keep-alive connections use up what there is, a client who asks is served, and idle ones are closed."""
    appliance = start("[limits]\nconnections_per_client = 1000\n")
    tls = trusting(root)
    with Clients() as clients:
        for _ in range(DESCRIPTORS):
            client = connect(appliance, tls, b"GET /echo HTTP/1.1\r\nHost: one.test\r\n\r\n")
            assert client is not None
            clients.add(client)
            wait_for(lambda client=client: clients.watch(0.01) or client.status, 5)  # type: ignore[misc, func-returns-value]
            assert client.status == 200
        assert 40 < len(clients.standing) < DESCRIPTORS / 2
        assert clients.standing[-1] is client
    assert "which is the most" not in appliance.output()


def test_no_descriptors_for_the_application(start: Callable[[str], Appliance], root: bytes) -> None:
    """With too many allowed in, connections to the application run short: 503 for those, and it is not to blame."""
    appliance = start("[limits]\nconnections = 1000\nconnections_per_client = 1000\n")
    with Clients() as clients:
        inside = crowd(appliance, root, HALF, DESCRIPTORS)
        clients.add(*inside)
        for client in inside:
            client.send(b"\r\n")
        assert DESCRIPTORS / 2 < len(inside) < DESCRIPTORS
        assert spins(appliance) < 0.3
        clients.watch(10, every=0.2)
        answers = Counter(client.status for client in inside)
    appliance.wait_for(lambda: serves(appliance, root), 10, "recovery")
    print(answers)
    assert set(answers) == {200, 503}
    assert answers[200] > 40
    output = appliance.output()
    assert "Traceback" not in output
    assert re.search("LimitNOFILE", output)
    assert len(output) < 20_000
