"""The ``appliance`` command as operators run it, against an appliance that a test has started."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.ops.control import unixsocket
from tests.support.appliance import ROOT, Appliance

_MAIN = "import sys; from appliance.ops.commands.cli import main; sys.exit(main())"


def run(*arguments: str | Path, timeout: float = 60.0, said: str | None = None) -> subprocess.CompletedProcess[str]:
    """One command; its output as text. ``said`` is its standard input."""
    return subprocess.run(
        [sys.executable, "-c", _MAIN, *map(str, arguments)],
        capture_output=True,
        text=True,
        input=said,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        check=False,
    )


def ask(appliance: Appliance, *arguments: str | Path) -> Any:
    """What a command answers with ``--json``."""
    done = run(*arguments, "--config", appliance.config, "--json")
    assert done.stdout, f"{arguments}: {done.returncode}: {done.stderr}"
    return json.loads(done.stdout)


def site(appliance: Appliance, name: str) -> Any:
    """One site of ``status``."""
    return ask(appliance, "status", name)["sites"][0]


@contextlib.contextmanager
def somebody_listens(state_dir: Path) -> Iterator[None]:
    """A service that can be reached there; it answers nothing."""
    made = unixsocket.listen(state_dir)
    made.publish()
    with made.socket:
        yield
    made.remove()
