"""What ``/proc`` is read for: a program and all it has started."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench.cpu import TICK, cpu_time, memory_bytes
from bench.programs import Program, free_port

BURN = """
import os, socket, sys, time
if not os.fork():
    while time.process_time() < 0.1: pass
    os._exit(0)
os.wait()
held = b"x" * 30_000_000
if not os.fork():
    while time.process_time() < 0.1: pass
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    time.sleep(60)
time.sleep(60)
"""


def test_children_living_and_ended_are_counted(tmp_path: Path) -> None:
    """CPU of a child that ended and of one that lives, and memory of them all, belong to it, and they end with it."""
    port = free_port()
    core = min(os.sched_getaffinity(0))
    with Program("burn", [sys.executable, "-c", BURN, str(port)], core=core, log=tmp_path / "log") as program:
        program.wait_until_listening(port)
        assert cpu_time(program.pid).total >= 0.2 - 2 * TICK
        assert 30_000_000 < memory_bytes(program.pid) < 100_000_000
    deadline = time.monotonic() + 10
    while memory_bytes(program.pid):
        assert time.monotonic() < deadline, "its children outlive it"
