"""Whatever an operator does to a running appliance, no client notices any of it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from appliance.ops.control.client import NotRunningError, act, ask
from tests.support.appliance import Appliance, Load, serial_of
from tests.support.applications import Application, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.processes import wait_for
from tests.support.talks import Talks

WEBSOCKETS, LOOPS, RELOADS, SWAPS = 200, 8, 20, 100
UPGRADES_AFTER = (4, 10, 16)
"""These reloads."""
PATIENCE = 60.0


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    with uvicorn(tmp_path) as application:
        yield application


def configure(appliance: Appliance, application: Application, turn: int) -> None:
    """One site that stays; another comes, changes and goes, again and again."""
    second = [([f"other-{turn % 3}.test"], f"http://127.0.0.1:{9 + turn % 2}")] if turn % 4 else []
    appliance.configure([(["one.test"], application.upstream), *second], "https://127.0.0.1:1/directory")


@pytest.fixture
def appliance(tmp_path: Path, application: Application) -> Iterator[Appliance]:
    """With two generations of certificates, to go back and forth between."""
    appliance = Appliance(tmp_path)
    configure(appliance, application, 0)
    appliance.keep("one.test", make_certificate(["one.test"]))
    stored = appliance.state_dir / "certificates" / "one.test.pem"
    stored.rename(stored.with_name("one.test.pem.previous"))
    appliance.keep("one.test", make_certificate(["one.test"]))
    with appliance:
        yield appliance


def running(appliance: Appliance) -> int:
    """The process that takes commands; 0 while there is none."""
    with suppress(NotRunningError):
        return int(ask(appliance.state_dir, "status")["pid"])
    return 0


def served(appliance: Appliance) -> int | None:
    """The serial number of the certificate that new clients are shown."""
    return serial_of(appliance, "one.test", shared_authority().pem)


def operate(appliance: Appliance, application: Application, processes: list[int]) -> int:
    """Reloads, swaps and upgrades; how often the certificate that is served became another one."""
    swapped = 0
    for turn in range(1, RELOADS + 1):
        configure(appliance, application, turn)
        act(appliance.state_dir, "reload", PATIENCE)
        for _ in range(SWAPS // RELOADS):
            before = served(appliance)
            act(appliance.state_dir, "rollback", PATIENCE, site="one.test")
            swapped += served(appliance) != before
        if turn in UPGRADES_AFTER:
            processes.append(int(act(appliance.state_dir, "upgrade", PATIENCE)["pid"]))
    return swapped


def end(processes: list[int]) -> None:
    """Of those that took the first one's place; it ends by itself, its WebSockets being closed."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 15, f"the end of {pid}")  # type: ignore[misc]


def test_nobody_notices_anything(appliance: Appliance, application: Application) -> None:
    """200 WebSockets and 8 request loops over 20 reloads, 100 swaps and 3 upgrades: none is closed, none fails."""
    root = shared_authority().pem
    processes = [wait_for(lambda: running(appliance), 10, "its commands being answered")]
    with Talks(appliance.https_port, "one.test", root, WEBSOCKETS).going_on() as talks:
        appliance.wait_for(lambda: talks.open == WEBSOCKETS or talks.failures, PATIENCE)
        with ExitStack() as loops:
            loads = [Load(appliance, "one.test", root, "/echo", keep_alive=bool(each % 2)) for each in range(LOOPS)]
            for load in loads:
                loops.enter_context(load)
            swapped = operate(appliance, application, processes)
        messages = talks.messages
        wait_for(lambda: talks.messages >= messages + WEBSOCKETS or talks.failures, PATIENCE, "all talking still")
        print(
            f"{swapped} swaps, {len(processes) - 1} upgrades, {sum(load.requests for load in loads)} requests,"
            f" {talks.messages} messages of {talks.open} WebSockets"
        )
    assert talks.failures == []
    assert [failure for load in loads for failure in load.failures] == []
    assert all(load.requests > RELOADS for load in loads)
    assert (swapped, len(set(processes))) == (SWAPS, 1 + len(UPGRADES_AFTER))
    assert threading.active_count() < LOOPS
    end(processes[1:])
