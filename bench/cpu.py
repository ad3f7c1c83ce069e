"""What a program and all its children have used, as the kernel counts it in ``/proc``.

:class:`bench.programs.Program` gives each program a session of its own, so a session is a program's whole family.
"""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
"""Seconds in a unit of ``/proc/PID/stat``: 10 ms on Linux."""

_PROC = Path("/proc")
_SESSION = 3
_UTIME = 11
"""Indices among the fields after the command's name; ``stime``, ``cutime``, ``cstime`` follow ``utime`` (proc(5))."""


@frozen
class CpuTime:
    """Seconds of processor time."""

    user: float
    system: float

    @property
    def total(self) -> float:
        """Both."""
        return self.user + self.system

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        """Return what was used since."""
        return CpuTime(self.user - earlier.user, self.system - earlier.system)


def cpu_time(session: int) -> CpuTime:
    """Return the time of a session's processes with all their threads, and of the children they have waited for."""
    user = system = 0
    for stat in _members(session).values():
        utime, stime, cutime, cstime = map(int, stat[_UTIME : _UTIME + 4])
        user += utime + cutime
        system += stime + cstime
    return CpuTime(user * TICK, system * TICK)


def memory_bytes(session: int) -> int:
    """Return the proportional set size of a session's processes: pages they share count once."""
    return sum(_proportional_set_size(pid) for pid in _members(session))


def _members(session: int) -> dict[int, list[str]]:
    """Return the fields after the command's name of every living process in the session, by process id."""
    stats = {int(folder.name): _stat(folder) for folder in _PROC.iterdir() if folder.name.isdigit()}
    return {pid: stat for pid, stat in stats.items() if stat and int(stat[_SESSION]) == session}


def _stat(folder: Path) -> list[str]:
    return _read(folder / "stat").rpartition(")")[2].split()


def _proportional_set_size(pid: int) -> int:
    for line in _read(_PROC / str(pid) / "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    """Return a file of ``/proc``; nothing when its process has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
