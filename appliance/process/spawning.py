"""A new process of the same command line, in a fresh interpreter, that belongs to nobody but init."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

from attrs import define

from appliance.errors import ApplianceError
from appliance.process.inheritance import Inheritance

_HELPER = """\
import os, sys
link, program = int(sys.argv[1]), sys.argv[2:]
if child := os.fork():
    os.write(link, b"started %d\\n" % child)
else:
    os.execv(program[0], program)
"""
"""Forks, so that the new process is not a child of the old one: it outlives that, and whoever supervises services sees
its end. In an interpreter of its own, as a process with threads cannot fork and go on."""

_SHOWN = 4096


class SpawnError(ApplianceError):
    """A process that could not be started."""


@define
class Spawned:
    """What is held of a new process."""

    link: int
    """Our end of its link; whoever takes it closes it."""
    errors: int
    """A file in memory that its standard error goes to."""

    def told(self) -> str:
        """The end of what it wrote there."""
        size = os.fstat(self.errors).st_size
        return os.pread(self.errors, _SHOWN, max(0, size - _SHOWN)).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Forget what it wrote."""
        os.close(self.errors)


def command_line() -> list[str]:
    """How this process was started."""
    return [sys.executable, *sys.orig_argv[1:]]


def spawn(command: Sequence[str], sockets: Mapping[str, int], environ: Mapping[str, str]) -> Spawned:
    """Start ``command`` with these sockets (see `inheritance`). Blocks for a moment. Raises SpawnError."""
    ours, theirs = socket.socketpair()
    errors = os.memfd_create("errors", os.MFD_CLOEXEC)
    standard_error = os.dup(2)
    left = Inheritance(dict(sockets), theirs.fileno(), standard_error)
    helper = [sys.executable, "-I", "-S", "-c", _HELPER, str(theirs.fileno()), *command]
    try:
        ended = subprocess.run(
            helper,
            stdin=subprocess.DEVNULL,
            stderr=errors,
            env={**environ, **left.environment()},
            pass_fds=left.descriptors,
            check=False,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError) as error:
        _close(ours, errors)
        raise SpawnError(f"{command[0]} could not be started: {error}") from error
    finally:
        os.close(standard_error)
        theirs.close()
    spawned = Spawned(ours.detach(), errors)
    if ended.returncode:
        told = spawned.told()
        os.close(spawned.link)
        spawned.close()
        raise SpawnError(f"{command[0]} could not be started: {told}")
    return spawned


def _close(ours: socket.socket, errors: int) -> None:
    ours.close()
    os.close(errors)


class Handle:
    """A process that is not our child, whatever becomes of its number."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError if there is none."""
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)
