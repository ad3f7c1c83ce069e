"""Programs are ended, and their failures told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.programs import BenchError, Program, free_port

CORE = min(os.sched_getaffinity(0))


def test_end_of_log_is_told_when_a_program_dies_at_start(tmp_path: Path) -> None:
    """A program that ends before it listens is reported with its status and what it wrote."""
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    with (
        Program("mishap", command, core=CORE, log=tmp_path / "log") as program,
        pytest.raises(BenchError, match=r"mishap ended with status 1:\nno such thing"),
    ):
        program.wait_until_listening(free_port())


def test_program_ends_with_its_context(tmp_path: Path) -> None:
    """Leaving the context ends the program, and ending it again does nothing."""
    with Program("sleeper", ["sleep", "60"], core=CORE, log=tmp_path / "log") as program:
        os.kill(program.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(program.pid, 0)
    program.stop()
