"""The wall clock is set while the appliance runs: timers go on and limits hold, as they run on another clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.slow import Client, Clients, trusting

HEADER, IDLE = 3.0, 5.0
LATE = 2.5
CONNECTIONS = 10
OFFSETS = {"-1h": timedelta(hours=-1), "+30d": timedelta(days=30)}
HALF = b"GET /echo HTTP/1.1\r\nHost: one.test\r\n"


class Clock:
    """The wall clock of one program, by libfaketime."""

    def __init__(self, folder: Path) -> None:
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        self._file = folder / "faketime"
        self._file.write_text("+0\n")
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: str) -> None:
        """So far from the true time, as in ``-1h`` or ``+30d``."""
        self._file.write_text(f"{offset}\n")


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def appliance(tmp_path: Path, clock: Clock) -> Iterator[Appliance]:
    with uvicorn(tmp_path) as application:
        appliance = Appliance(tmp_path)
        faked = [f"{key}={value}" for key, value in clock.environment.items()]
        appliance.arguments = ["env", *faked, *appliance.arguments]
        limits = f"[limits]\nconnections_per_client = {CONNECTIONS}\n[timeouts]\nheader = {HEADER}\nidle = {IDLE}\n"
        appliance.configure([(["one.test"], application.upstream)], "https://127.0.0.1:1/directory", more=limits)
        appliance.keep("one.test", make_certificate(["one.test"]))
        with appliance:
            yield appliance


@pytest.mark.parametrize("offset", OFFSETS)
def test_set_while_running(appliance: Appliance, clock: Clock, offset: str) -> None:
    """An hour back or a month ahead: stalled and idle clients end as ever, in their time; others are served."""
    root = shared_authority().pem
    tls = trusting(root)
    with appliance.client("one.test", root) as lasting, Clients() as clients:
        assert lasting.get("/echo").read()
        began = time.monotonic()
        stalled = [Client(appliance.https_port, tls) for _ in range(2)]
        clients.add(*stalled)
        for client in stalled:
            client.send(HALF)
        lasting.request("GET", "/slow?seconds=2", headers={"Host": "one.test"})
        clock.set(offset)
        assert lasting.getresponse().read() == b'{"seconds":2.0}'
        for client in stalled:
            assert client.ended is None
        clients.watch(HEADER + LATE)
        for client in stalled:
            assert client.status == 408
            assert client.ended is not None
            assert HEADER - 0.1 <= client.ended - began <= HEADER + LATE
        # Those who come after the change have the same times.
        idle, half = Client(appliance.https_port, tls), Client(appliance.https_port, tls)
        clients.add(idle, half)
        began = time.monotonic()
        idle.send(HALF + b"\r\n")
        half.send(HALF)
        assert lasting.get("/echo").status == 200
        clients.watch(IDLE + LATE)
        assert (idle.status, half.status) == (200, 408)
        assert idle.ended is not None
        assert half.ended is not None
        assert HEADER - 0.1 <= half.ended - began <= HEADER + LATE
        assert IDLE - 0.1 <= idle.ended - began <= IDLE + LATE
    refused = appliance.wait_for(lambda: _refusal(appliance), 5, "a line about a refused connection")
    shown = datetime.fromisoformat(refused.split()[0])
    assert abs(shown - datetime.now(UTC) - OFFSETS[offset]) < timedelta(minutes=1)
    assert "Traceback" not in appliance.output()


def _refusal(appliance: Appliance) -> str:
    """A line that is logged now, by one connection too many."""
    crowd = [Client(appliance.http_port) for _ in range(CONNECTIONS + 1)]
    for client in crowd:
        client.close()
    return next((line for line in appliance.output().splitlines() if "Connection refused: " in line), "")
