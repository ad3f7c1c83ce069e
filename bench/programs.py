"""Starting a program on one core, waiting until it listens, and ending it, whatever happens to us."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 20.0
"""How long a program may take until it listens."""

STOP_SECONDS = 5.0
"""How long a program may take to end after SIGTERM, before SIGKILL."""


class BenchError(Exception):
    """The run cannot go on, or its figures would be wrong; ``str()`` says what was seen."""


class Program:
    """One program that we started, with all its children; a context manager that ends it.

    It has its own session, so that Ctrl-C reaches only us and we end it in order; and it gets
    SIGTERM from the kernel should we die without a chance to.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, core: int, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*pinned(core), "setpriv", "--pdeathsig", "TERM", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_until_listening(self, port: int) -> None:
        """Return once something accepts on the port; raise :exc:`BenchError` with the end of its log otherwise."""
        deadline = time.monotonic() + START_SECONDS
        while not _accepts(port):
            if self._process.poll() is not None:
                raise BenchError(f"{self.name} ended with status {self._process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} does not listen on {port} after {START_SECONDS} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End it and its children: SIGTERM, then SIGKILL for what is left; returns when it is gone."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def __enter__(self) -> Self:
        """Do nothing: it runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()


def pinned(core: int) -> list[str]:
    """Return the words before a command that keep it on one core."""
    return ["taskset", "--cpu-list", str(core)]


def find_program(name: str) -> str | None:
    """Return a program's path, also from the folders of system programs, which an ordinary user's PATH lacks."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def first_line(command: Sequence[str]) -> str:
    """Return the first line that a command prints, on either stream: most programs' version."""
    printed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = (printed.stdout + printed.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
