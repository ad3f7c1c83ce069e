"""What the service manager is told, and by which environment."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from attrs import frozen
from twisted.internet.task import Clock

from appliance.process.systemd import Manager, Supervised, from_environment, message, status_line


@frozen
class Report:
    """Where a site stands."""

    site: str
    serving: object | None = "certificate"
    alarm: str = ""


@pytest.mark.parametrize(
    ("environ", "manager"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": ""}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, None),
        ({"NOTIFY_SOCKET": "/"}, None),
        ({"NOTIFY_SOCKET": "/run/notify"}, Manager("/run/notify")),
        ({"NOTIFY_SOCKET": "@name", "WATCHDOG_USEC": "3000000"}, Manager("@name", 3.0)),
        ({"NOTIFY_SOCKET": "@name", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, Manager("@name", 3.0)),
        ({"NOTIFY_SOCKET": "@name", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, Manager("@name")),
        ({"NOTIFY_SOCKET": "@name", "WATCHDOG_USEC": "soon"}, Manager("@name")),
        ({"NOTIFY_SOCKET": "@name", "WATCHDOG_USEC": "0"}, Manager("@name")),
    ],
)
def test_environment(environ: dict[str, str], manager: Manager | None) -> None:
    """It is taken away, so that no hook tells systemd anything; a successor gets it back."""
    assert from_environment({**environ, "HOME": "/"}, 7) == manager
    taken = dict(environ)
    from_environment(taken, 7)
    assert taken == {}
    if manager is not None:
        assert from_environment(manager.environment(), 9) == manager


def test_message() -> None:
    """A field to a line, whatever is in it."""
    assert message(READY=1, STATUS="two\nlines  here") == b"READY=1\nSTATUS=two lines here\n"
    assert message(RELOADING=1, monotonic=1.5) == b"RELOADING=1\nMONOTONIC_USEC=1500000\n"


def test_status_line() -> None:
    """What is wrong is in it."""
    assert status_line([], 0, sites=False) == "no site is configured"
    assert status_line([], 0) == "the certificate store has not been read yet"
    assert status_line([Report("a"), Report("b")], 3) == "2 of 2 sites certified; 3 connections"
    troubled = [Report("a", None, "no"), Report("b", "it", "ends soon"), Report("c")]
    assert status_line(troubled, 0) == ("2 of 3 sites certified; without a certificate: a; b: ends soon; 0 connections")


@pytest.mark.parametrize("abstract", [True, False])
def test_a_life(tmp_path: Path, abstract: bool) -> None:
    """Alive twice an interval, the status when it changes, and every step; nothing once another has taken over."""
    path = tmp_path / "notify"
    address = f"@appliance-test-{tmp_path}"[:100] if abstract else str(path)
    lines = ["one"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        manager.settimeout(5)

        def heard() -> bytes:
            return manager.recv(4096)

        clock = Clock()
        supervised = Supervised(clock, Manager(address, 4.0), lambda: lines[0])
        supervised.startService()
        assert heard() == b"STATUS=one\n"
        assert heard() == b"WATCHDOG=1\n"
        supervised.ready()
        assert heard() == b"READY=1\nSTATUS=one\nWATCHDOG=1\n"
        clock.advance(2)
        assert heard() == b"WATCHDOG=1\n"
        lines[0] = "two"
        clock.advance(3)
        assert {heard(), heard()} == {b"WATCHDOG=1\n", b"STATUS=two\n"}
        supervised.reloading()
        assert heard().startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        supervised.stopping()
        assert heard().startswith(b"STOPPING=1\nSTATUS=")
        supervised.replaced(77)
        assert heard() == b"MAINPID=77\n"
        supervised.stopping()
        supervised.stopService()
        supervised.stopService()
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            heard()
        assert not clock.getDelayedCalls()


def test_no_watchdog(tmp_path: Path) -> None:
    """Who was not asked to say that it is alive does not."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(5)
        Supervised(Clock(), Manager(str(path)), lambda: "one").ready()
        assert manager.recv(4096) == b"READY=1\nSTATUS=one\n"


def test_nobody_listens(tmp_path: Path) -> None:
    """A manager that is gone, or none at all, disturbs nothing."""
    for manager in (None, Manager(str(tmp_path / "nothing"), 4.0)):
        clock = Clock()
        supervised = Supervised(clock, manager, str)
        supervised.startService()
        supervised.ready()
        clock.advance(10)
        supervised.stopService()
