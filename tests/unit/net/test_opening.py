"""Endpoints of systemd's: sockets that a process has once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import endpoints
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.python.systemd import ListenFDs

from appliance.errors import ListenError
from appliance.net.opening import open_port
from appliance.tls.endpoint import PlainListening
from tests.support.loop import Loop, loop

BY_INDEX, BY_NAME = "systemd:domain=INET:index=0", "systemd:domain=INET:name=web"


@pytest.fixture
def running() -> Iterator[Loop]:
    with loop() as made:
        yield made


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listening socket that systemd has passed, named ``web``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = ListenFDs([listening.fileno()], ["web"])
        monkeypatch.setattr(endpoints._SystemdParser, "_sddaemon", found)
        yield listening


def opened(running: Loop, endpoint: str) -> Any:
    """The port, or the error that there is instead."""
    results: list[Any] = []
    opening = open_port(PlainListening(running.reactor), endpoint, Factory.forProtocol(Protocol))
    opening.addBoth(results.append)
    (result,) = results
    return result.value if isinstance(result, Failure) else result


def close(running: Loop, port: Any) -> None:
    stopped: list[object] = []
    port.stopListening().addBoth(stopped.append)
    running.until(lambda: stopped, "the port's end")


def test_a_socket_can_be_had_again(running: Loop, passed: socket.socket) -> None:
    """Once its port is closed, by either name; it is the same socket each time, and nobody is refused meanwhile."""
    for endpoint in (BY_INDEX, BY_INDEX, BY_NAME):
        port = opened(running, endpoint)
        assert port.getHost().port == passed.getsockname()[1]
        accepted = len(running.reactor.getReaders())
        with socket.create_connection(passed.getsockname()):
            running.until(lambda accepted=accepted: len(running.reactor.getReaders()) > accepted, "the client")
        close(running, port)
        socket.create_connection(passed.getsockname()).close()


def test_a_socket_can_be_had_once_at_a_time(running: Loop, passed: socket.socket) -> None:
    """A second endpoint of it is refused before anything is done, and the first goes on."""
    port = opened(running, BY_INDEX)
    error = opened(running, BY_NAME)
    assert isinstance(error, ListenError)
    assert "another endpoint has this socket of systemd's" in str(error)
    assert port.connected
    close(running, port)
    assert opened(running, BY_NAME).connected


@pytest.mark.parametrize(
    "endpoint",
    ["systemd:garbage", "systemd:index=0", "systemd:domain=GARBAGE:index=0", "systemd:domain=INET:index=first"],
)
def test_endpoints_that_are_none(running: Loop, passed: socket.socket, endpoint: str) -> None:
    """How one is written is said."""
    error = opened(running, endpoint)
    assert isinstance(error, ListenError)
    assert 'write it as "systemd:domain=INET6:index=0"' in str(error)


def test_a_socket_that_is_not_there(running: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever started this process promised more than it kept."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    monkeypatch.setattr(endpoints._SystemdParser, "_sddaemon", ListenFDs([writing], ["web"]))
    assert isinstance(opened(running, BY_NAME), OSError)
