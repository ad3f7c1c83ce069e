"""Talking to the service manager: readiness, status, watchdog (sd_notify(3)). Without systemd nothing is said."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Protocol

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

STATUS_SECONDS = 5.0
"""How old the status line may be."""

_SHOWN = 300

_log = Logger()


@frozen
class Manager:
    """Where to tell, and how often that this process is alive."""

    address: str
    """A socket's path, or ``@`` and a name in the abstract namespace."""
    watchdog: float | None = None
    """Seconds after which silence means that this process hangs."""

    def environment(self) -> dict[str, str]:
        """What a process that takes this one's place is to find in its environment."""
        watchdog = {"WATCHDOG_USEC": str(round(self.watchdog * 1e6))} if self.watchdog is not None else {}
        return {"NOTIFY_SOCKET": self.address, **watchdog}


def from_environment(environ: MutableMapping[str, str], pid: int) -> Manager | None:
    """The manager of process ``pid``; None without one. Programs that are started later do not find it."""
    address = environ.pop("NOTIFY_SOCKET", "")
    interval, meant = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if address[:1] not in ("/", "@") or len(address) < 2:
        return None
    watchdog = int(interval) / 1e6 if interval.isdecimal() and int(interval) and meant in ("", str(pid)) else None
    return Manager(address, watchdog)


def message(*, monotonic: float = 0.0, **fields: object) -> bytes:
    """A datagram: ``READY=1`` and such, one to a line. With ``RELOADING`` goes the moment, in ``monotonic`` seconds."""
    if "RELOADING" in fields:
        fields["MONOTONIC_USEC"] = int(monotonic * 1e6)
    return "".join(f"{name}={_line(value)}\n" for name, value in fields.items()).encode()


def _line(value: object) -> str:
    return " ".join(str(value).split())[:_SHOWN]


class Report(Protocol):
    """``sitereport.SiteReport``, as far as it is told."""

    @property
    def site(self) -> str:
        """The site's name."""

    @property
    def serving(self) -> object | None:
        """Its certificate; None while there is none."""

    @property
    def alarm(self) -> str:
        """What is wrong."""


def status_line(reports: Sequence[Report], connections: int, sites: bool = True) -> str:
    """The sites' state in one line, what is wrong first of all; ``sites`` says whether any are configured."""
    if not sites:
        return "no site is configured"
    if not reports:
        return "the certificate store has not been read yet"
    missing = [report.site for report in reports if report.serving is None]
    alarms = [f"{report.site}: {report.alarm}" for report in reports if report.alarm and report.serving is not None]
    parts = [f"without a certificate: {', '.join(missing)}"] if missing else []
    certified = f"{len(reports) - len(missing)} of {len(reports)} sites certified"
    return "; ".join([certified, *parts, *alarms, f"{connections} connections"])


class Supervised(Service):
    """Tells the manager, while it runs, that and how this process serves."""

    def __init__(self, clock: Any, manager: Manager | None, status: Callable[[], str]) -> None:
        """``status`` makes the line that ``systemctl status`` shows."""
        self.manager = manager
        self._status = status
        self._told = ""
        self._main = True
        """Whether the manager still listens to this process."""
        self._loops: list[tuple[LoopingCall, float]] = []
        if manager is not None:
            self._loops.append((LoopingCall(self._tell_status), STATUS_SECONDS))
            if manager.watchdog is not None:
                self._loops.append((LoopingCall(self._send, WATCHDOG=1), manager.watchdog / 2))
        for loop, _ in self._loops:
            loop.clock = clock

    def startService(self) -> None:
        """Begin; not ready yet."""
        super().startService()  # type: ignore[no-untyped-call]
        for loop, interval in self._loops:
            loop.start(interval)

    def stopService(self) -> None:
        """Say nothing more."""
        super().stopService()  # type: ignore[no-untyped-call]
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()

    def ready(self) -> None:
        """Clients are served; or a reload is over, whatever came of it."""
        self._told = self._status()
        # What a process that takes over has said of its life until now was not heard: it was not the main one.
        alive = {"WATCHDOG": 1} if self.manager is not None and self.manager.watchdog is not None else {}
        self._send(READY=1, STATUS=self._told, **alive)

    def reloading(self) -> None:
        """A new configuration is being applied."""
        self._send(RELOADING=1)

    def stopping(self) -> None:
        """Requests in flight are being finished."""
        self._send(STOPPING=1, STATUS="finishing requests in flight")

    def replaced(self, pid: int) -> None:
        """Another process is the service from here on; this one has nothing more to say."""
        self._send(MAINPID=pid)
        self._main = False

    def _tell_status(self) -> None:
        status = self._status()
        if status != self._told:
            self._told = status
            self._send(STATUS=status)

    def _send(self, **fields: object) -> None:
        if self.manager is None or not self._main:
            return
        try:
            send(self.manager.address, message(monotonic=time.monotonic(), **fields))
        except OSError as error:
            if error.errno != errno.EAGAIN:
                _log.warn("systemd could not be told {what}: {error}", what=", ".join(fields), error=error)


def send(address: str, datagram: bytes) -> None:
    """To a socket's path or abstract name. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        sender.sendto(datagram, "\0" + address[1:] if address.startswith("@") else address)
