"""UNIX sockets: what crashes leave is cleared away, what others own is left alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol

from appliance.net.opening import leave_to_others
from appliance.tls.endpoint import PlainListening
from tests.support.loop import Loop, loop


@pytest.fixture
def running() -> Iterator[Loop]:
    with loop() as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


def listen(running: Loop, path: Path | str, mode: int = 0o666) -> Any:
    """An open port, as the endpoint ``unix:`` asks for it."""
    factory = Factory.forProtocol(Protocol)
    return PlainListening(running.reactor).listenUNIX(os.fsencode(path), factory, mode=mode, wantPID=1)


def adopt(running: Loop, listening: socket.socket) -> Any:
    """A port on a socket that somebody else made."""
    factory = Factory.forProtocol(Protocol)
    return PlainListening(running.reactor).adoptStreamPort(listening.fileno(), listening.family, factory)


def made_by_somebody(path: Path) -> socket.socket:
    """Another one's listening socket, with a mode of its own."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    path.chmod(0o640)
    made.listen()
    return made


def stop(running: Loop, port: Any) -> None:
    stopped: list[object] = []
    port.stopListening().addBoth(stopped.append)
    running.until(lambda: stopped, "the port's end")
    assert stopped == [None]


def accepts(path: Path | str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_what_a_crash_left_is_cleared_away(running: Loop, path: Path) -> None:
    """Also where a lock of the former process names a number that is ours now, as in a container."""
    made_by_somebody(path).close()
    lock = path.with_name("socket.lock")
    lock.symlink_to(str(os.getpid()))
    listen(running, path, 0o600)
    assert accepts(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {each.name for each in path.parent.iterdir()} == {"socket", "socket.lock"}


def test_a_socket_in_use_is_refused(running: Loop, path: Path) -> None:
    """Its owner goes on, though its queue is full."""
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen(0)
        client.connect(str(path))
        with pytest.raises(CannotListenError):
            listen(running, path)
        other.accept()[0].close()
        assert accepts(path)


def test_what_is_no_socket_stays(running: Loop, path: Path) -> None:
    """A mistyped name costs nobody a file."""
    path.write_text("precious")
    with pytest.raises(CannotListenError):
        listen(running, path)
    assert path.read_text() == "precious"


def test_the_file_goes_with_the_port(running: Loop, path: Path) -> None:
    """Nothing is left beside it either; the name can be had again."""
    for _ in range(2):
        stop(running, listen(running, path))
        assert list(path.parent.iterdir()) == []


def test_another_ones_file_in_its_place_stays(running: Loop, path: Path) -> None:
    """Somebody took ours away, and perhaps put another there: that is theirs."""
    port, removed = listen(running, path), listen(running, path.with_name("removed"))
    path.unlink()
    path.with_name("removed").unlink()
    with made_by_somebody(path):
        stop(running, port)
        stop(running, removed)
        assert accepts(path)


def test_a_port_that_is_left_to_others_keeps_its_file(running: Loop, path: Path) -> None:
    """Another process has the socket."""
    port = listen(running, path)
    leave_to_others(port)
    stop(running, port)
    assert path.is_socket()


def test_an_adopted_sockets_file_is_not_touched(running: Loop, path: Path) -> None:
    """It belongs to somebody else, who alone may change its mode, and may even have taken it away."""
    with made_by_somebody(path) as listening:
        before = os.stat(path)
        port = adopt(running, listening)
        assert accepts(path)
        stop(running, port)
        assert os.stat(path).st_ctime_ns == before.st_ctime_ns
        path.unlink()
        adopt(running, listening)


def test_names_without_a_file(running: Loop) -> None:
    """The abstract namespace has names that end with their sockets."""
    name = f"\0appliance-{os.getpid()}"
    stop(running, listen(running, name))
    port = listen(running, name)
    assert accepts(name)
    stop(running, port)
