"""Three profilers, and what each sees.

cProfile counts every call but makes small functions look dear; py-spy samples the Python stack from outside; perf
samples the processor, and so tells kernel, OpenSSL and interpreter apart.
"""

from __future__ import annotations

import marshal
import os
import signal
import subprocess
import sys
import sysconfig
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from bench.hotspots import Row, by_line, from_cprofile, from_shares, from_stacks, table, without_prefix
from bench.programs import BenchError, find_program
from bench.proxies import REPOSITORY, Appliance, Setting

PROFILED = Path(__file__).with_name("profiled.py")

WRITE_SECONDS = 20.0
"""How long a profiler may take to write down what it saw."""


class Profiler(ABC):
    """One way to look at a running appliance, from :meth:`begin` to :meth:`end`."""

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self._output = folder / self.name

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Return what must be installed; None if nothing."""

    @property
    def appliance(self) -> Appliance:
        """The contender, run so that this profiler can look at it."""
        return Appliance()

    @abstractmethod
    def begin(self, pid: int, seconds: int) -> None:
        """Start looking, for about the length of the load."""

    @abstractmethod
    def end(self, requests: int, cost: float, length: int) -> list[str]:
        """Return tables, after ``requests`` of ``cost`` CPU microseconds each."""


class CProfile(Profiler):
    """The standard library's, inside the process."""

    name = "cprofile"

    @classmethod
    def missing(cls) -> str | None:
        """Nothing: Python has it."""
        return None

    @property
    def appliance(self) -> Appliance:
        """Run ``twist`` by the launcher that profiles between two signals."""
        return _ProfiledAppliance(self._output)

    def begin(self, pid: int, seconds: int) -> None:
        """Tell it to begin."""
        self._pid = pid
        os.kill(pid, signal.SIGRTMIN)

    def end(self, requests: int, cost: float, length: int) -> list[str]:
        """Tell it to write its statistics, and read them."""
        os.kill(self._pid, signal.SIGRTMIN + 1)
        deadline = time.monotonic() + WRITE_SECONDS
        while not self._output.exists():
            if time.monotonic() > deadline:
                raise BenchError(f"cProfile wrote nothing within {WRITE_SECONDS} s")
            time.sleep(0.05)
        rows = from_cprofile(marshal.loads(self._output.read_bytes()), requests)
        title = f"cProfile: {requests} requests of {cost:.1f} µs, the profiler's own share included"
        return [table(title, _short(rows), length)]


class _ProfiledAppliance(Appliance):
    def __init__(self, output: Path) -> None:
        self._output = output

    def prepare(self, setting: Setting) -> list[str]:
        command = super().prepare(setting)
        return [sys.executable, "-P", str(PROFILED), str(self._output), *command[command.index("twisted") + 1 :]]


class Sampler(Profiler):
    """A program that samples the process from outside for as long as it is told."""

    def begin(self, pid: int, seconds: int) -> None:
        """Start it."""
        self._program = subprocess.Popen(self._command(pid, seconds), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def end(self, requests: int, cost: float, length: int) -> list[str]:
        """Wait for it, and read what it wrote."""
        try:
            printed, _ = self._program.communicate(timeout=WRITE_SECONDS)
        except BaseException:
            self._program.kill()
            self._program.wait()
            raise
        if self._program.returncode:
            raise BenchError(f"{self.name}: {printed.decode(errors='replace').strip()}")
        return self._read(requests, cost, length)

    @abstractmethod
    def _command(self, pid: int, seconds: int) -> list[str]:
        """Return the command that samples for the given time and writes the output."""

    @abstractmethod
    def _read(self, requests: int, cost: float, length: int) -> list[str]:
        """Return tables of what it wrote."""


class PySpy(Sampler):
    """The Python stack, a thousand times a second; needs the right to trace processes (root, mostly)."""

    name = "py-spy"

    @classmethod
    def missing(cls) -> str | None:
        """It may stand beside the interpreter."""
        return None if _py_spy() else "py-spy (pip install py-spy)"

    def _command(self, pid: int, seconds: int) -> list[str]:
        what = ["--pid", str(pid), "--duration", str(seconds), "--rate", "1000", "--nonblocking"]
        return [str(_py_spy()), "record", *what, "--format", "raw", "--output", str(self._output)]

    def _read(self, requests: int, cost: float, length: int) -> list[str]:
        lines = self._output.read_text().splitlines()
        return [
            table(f"py-spy: by function, of {cost:.1f} µs", _short(from_stacks(lines, cost)), length),
            table(f"py-spy: by line, of {cost:.1f} µs", _short(by_line(lines, cost)), length),
        ]


class Perf(Sampler):
    """The processor: kernel, OpenSSL, interpreter."""

    name = "perf"

    @classmethod
    def missing(cls) -> str | None:
        """Debian has it in a package of another name."""
        return None if find_program("perf") else "perf (apt-get install linux-perf)"

    def _command(self, pid: int, seconds: int) -> list[str]:
        record = ["perf", "record", "--quiet", "--freq", "997", "--output", str(self._output), "--pid", str(pid)]
        return [*record, "--", "sleep", str(seconds)]

    def _read(self, requests: int, cost: float, length: int) -> list[str]:
        return [
            table(f"perf: by shared object, of {cost:.1f} µs", self._shares("dso", cost), length),
            table(f"perf: by symbol, of {cost:.1f} µs", self._shares("dso,symbol", cost), length),
        ]

    def _shares(self, fields: str, cost: float) -> list[Row]:
        command = ["perf", "report", "--stdio", "--quiet", "--input", str(self._output), "--sort", fields]
        ended = subprocess.run(
            [*command, "--field-separator", ";"],
            capture_output=True,
            text=True,
            timeout=WRITE_SECONDS,
            check=False,
        )
        if ended.returncode:
            raise BenchError(f"perf report: {ended.stderr.strip()}")
        return from_shares(ended.stdout, cost)


PROFILERS: dict[str, type[Profiler]] = {profiler.name: profiler for profiler in (CProfile, PySpy, Perf)}
"""All profilers by name."""


def _py_spy() -> str | None:
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else find_program("py-spy")


def _short(rows: list[Row]) -> list[Row]:
    """Name files from the repository or the library on, not from the root."""
    paths = sysconfig.get_paths()
    return without_prefix(rows, [f"{folder}/" for folder in (REPOSITORY, paths["purelib"], paths["stdlib"])])
