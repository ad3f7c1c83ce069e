"""An appliance whose process is replaced by another, which is replaced by another."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from appliance.ops.control.client import CommandFailedError, NotRunningError, act, ask
from tests.support.appliance import Appliance
from tests.support.applications import Application
from tests.support.certificates import make_certificate
from tests.support.processes import wait_for

UNREACHABLE = "https://127.0.0.1:1/directory"


class Generations:
    """An appliance whose process is replaced again and again."""

    def __init__(self, folder: Path, application: Application, more: str = "") -> None:
        self.appliance = Appliance(folder).configure([(["one.test"], application.upstream)], UNREACHABLE, more=more)
        self.appliance.keep("one.test", make_certificate(["one.test"]))
        self.pids: list[int] = []

    def start(self) -> None:
        self.appliance.start()
        self.pids.append(wait_for(self.serving, 10, "the control socket"))

    def serving(self) -> int:
        """The process that answers commands; 0 while there is none."""
        with suppress(NotRunningError, CommandFailedError):
            return int(ask(self.appliance.state_dir, "status")["pid"])
        return 0

    def upgrade(self) -> int:
        """Have it replaced; the new process."""
        answer = act(self.appliance.state_dir, "upgrade", 60)
        assert answer["replaced"] == self.pids[-1]
        self.pids.append(int(answer["pid"]))
        assert self.serving() == self.pids[-1]
        return self.pids[-1]

    def stop(self) -> None:
        """End all of them."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in self.pids:
            wait_for(lambda pid=pid: not alive(pid), 10, f"the end of {pid}")  # type: ignore[misc]
        self.appliance.stop()


def alive(pid: int) -> bool:
    """Whether this process runs."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def successors(appliance: Appliance) -> set[int]:
    """The processes of this appliance's command line, but for the first; those that only start them are none."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            ours = bytes(appliance.config) in arguments and b"-I" not in arguments
            inherited = b"APPLIANCE_INHERITED=" in (folder / "environ").read_bytes()  # not so before its exec
            if ours and inherited and alive(int(folder.name)):
                found.add(int(folder.name))
    return found - {appliance.pid}
