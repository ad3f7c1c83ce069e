"""An ordinary client beside a crowd: ``python -m tests.support.probe PORT NAME ROOT`` prints how long its answers took.

In a process of its own, so that what it measures is the server and not what else the test does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.appliance import ROOT as HERE
from tests.support.appliance import Appliance, SiteConnection
from tests.support.processes import Program

PAUSE = 0.01


class Probe(Program):
    """The client, while a with-block lasts."""

    def __init__(self, appliance: Appliance, name: str, root: bytes, folder: Path) -> None:
        (folder / "root.pem").write_bytes(root)
        arguments = [sys.executable, "-m", "tests.support.probe", str(appliance.https_port), name, folder / "root.pem"]
        super().__init__(arguments, folder / "probe.log", folder=HERE)

    def took(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """Seconds that the answers took to what was asked between two times of the monotonic clock.

        Raises AssertionError over an answer other than 200.
        """
        lines = [line.split() for line in self.output().splitlines(keepends=True) if line.endswith("\n")]
        wrong = [line for line in lines if len(line) != 3 or line[2] != "200"]
        assert not wrong, wrong[:5]
        return [float(seconds) for began, seconds, _ in lines if since <= float(began) < until]


def percentile(values: Iterable[float], part: float) -> float:
    """The value that so large a part of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def main(port: int, name: str, root: bytes) -> None:
    """Ask, and ask again over one connection, or over a new one if that fails."""
    client = SiteConnection(name, port, root)
    while True:
        began = time.monotonic()
        try:
            response = client.get("/echo")
            response.read()
            outcome = str(response.status)
        except OSError as error:
            outcome = repr(error).replace(" ", "_")
            client.close()
        print(f"{began:.4f} {time.monotonic() - began:.4f} {outcome}", flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes())
