"""Real programs in tests: start one, wait for what it does, stop it by its process id. Ports are picked free."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

T = TypeVar("T")

INTERVAL = 0.02
"""Seconds between two looks at a condition."""


# Below those that Linux gives to outgoing connections: one of these could be there before a program that is to listen.
_PORTS = itertools.cycle(random.Random(os.getpid()).sample(range(15_000, 32_000), 17_000))


def free_ports(count: int) -> list[int]:
    """``count`` different TCP ports of the loopback interface that nobody listens on now."""
    return list(itertools.islice(filter(_is_free, _PORTS), count))


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as tried:
        tried.bind(("127.0.0.1", port))
        return True
    return False


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts TCP connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


LEAST = 20.0
"""Seconds that are waited at least before a test fails: a busy machine may stand still for some."""


def wait_for(condition: Callable[[], T], seconds: float = 10.0, what: str = "") -> T:
    """The first true value of ``condition``; blocks, so not in a reactor's thread while it has work to do.

    Raises AssertionError after ``seconds``, or `LEAST`: to end a test that has failed, not to measure anything.
    """
    seconds = max(seconds, LEAST)
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(INTERVAL)
    return value


async def eventually(clock: IReactorTime, condition: Callable[[], T], seconds: float = 10.0, what: str = "") -> T:
    """The first true value of ``condition``, while the reactor runs. Raises as :func:`wait_for` does."""
    seconds = max(seconds, LEAST)
    deadline = clock.seconds() + seconds
    while not (value := condition()):
        if clock.seconds() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        pause: Deferred[None] = deferLater(clock, INTERVAL, lambda: None)
        await pause
    return value


class Program:
    """A program in its own process group, its output in a file. As a context manager it is stopped at the end."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """``environment`` is added to ours; ``folder`` is where it runs."""
        if shutil.which(str(arguments[0])) is None:
            raise FileNotFoundError(f"{arguments[0]} is not installed: apt-get install it, or see README.rst")
        self.arguments = [str(argument) for argument in arguments]
        self.log = log
        self._environment = {**os.environ, **(environment or {})}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""
        assert self._process is not None, f"{self.arguments[0]} was not started"
        return self._process.pid

    def start(self) -> Self:
        """Start it; its output is appended to ``log``."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )
        atexit.register(self.kill)
        return self

    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """All it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, condition: Callable[[], T], seconds: float = 10.0, what: str = "") -> T:
        """As :func:`wait_for`; fails at once, with the output, when the program has ended."""

        def look() -> T:
            if not (value := condition()) and not self.running():
                raise AssertionError(f"{self.arguments[0]} ended early:\n{self.output()[-4000:]}")
            return value

        try:
            return wait_for(look, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()[-4000:]}") from None

    def wait_for_port(self, port: int, seconds: float = 10.0) -> Self:
        """Until it accepts connections on ``port`` of 127.0.0.1."""
        self.wait_for(lambda: accepts(port), seconds, f"{self.arguments[0]} listening on {port}")
        return self

    def send(self, number: signal.Signals) -> None:
        """A signal to the program itself."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 10.0) -> int:
        """Its exit status, when it has ended by itself. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self, seconds: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL to the whole group after ``seconds``; its exit status, None if it was never started."""
        if self._process is None:
            return None
        if self.running():
            self.send(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._end(self._process.wait(seconds))
        return self.kill()

    def kill(self) -> int | None:
        """SIGKILL to the whole group, at once; the exit status."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._end(self._process.wait())

    def _end(self, status: int) -> int:
        atexit.unregister(self.kill)
        self._process = None
        return status

    def __enter__(self) -> Self:
        return self if self._process is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
