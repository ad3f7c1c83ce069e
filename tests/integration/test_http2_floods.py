"""Floods over HTTP/2 beside an ordinary client: it hardly notices, and memory stays flat.

``FLOOD_SECONDS=20`` has each last so long.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.appliance import Appliance, SiteConnection
from tests.support.applications import ROOT, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.http2flood import FLOODS

SECONDS = float(os.environ.get("FLOOD_SECONDS", "1.5"))
MIB = 1 << 20

# Not floods but waiting games: they end by their time, not within the seconds of this test.
PATIENT = {"shut-windows"}
# A busy upload, however silly, is no offence.
LAWFUL = {"one-byte-data"}


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("floods")
    with uvicorn(folder) as application:
        appliance = Appliance(folder)
        appliance.configure([(["one.test"], application.upstream)], "https://127.0.0.1:1/directory")
        appliance.keep("one.test", make_certificate(["one.test"]))
        with appliance:
            yield appliance


def client(appliance: Appliance) -> SiteConnection:
    return appliance.client("one.test", shared_authority().pem, timeout=60)


def ordinary(appliance: Appliance, seconds: float) -> list[float]:
    """Ask again and again, and see how long each answer takes."""
    times = []
    with client(appliance) as connection:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            started = time.monotonic()
            response = connection.get("/echo")
            assert response.status == 200
            response.read()
            times.append(time.monotonic() - started)
            time.sleep(0.005)
    return sorted(times)


def p99(times: list[float]) -> float:
    return times[int(len(times) * 0.99)]


@pytest.mark.parametrize("kind", FLOODS)
def test_flood(appliance: Appliance, kind: str) -> None:
    """The ordinary client's p99 stays within 100 ms of the idle one; the flood is shown out."""
    idle = p99(ordinary(appliance, 1.0))
    before = appliance.resident()
    command = [
        sys.executable,
        "-m",
        "tests.support.http2flood",
        kind,
        str(appliance.https_port),
        "one.test",
        str(SECONDS),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as flood:
        times = ordinary(appliance, SECONDS)
        output, _ = flood.communicate(timeout=60)
    result = json.loads(output.splitlines()[-1])
    growth = appliance.resident() - before
    print(f"{kind}: p99 {p99(times) * 1e3:.0f} ms, idle {idle * 1e3:.0f} ms, grown by {growth / MIB:.1f} MiB, {result}")
    assert p99(times) < idle + 0.1
    assert growth < 24 * MIB
    if kind not in PATIENT | LAWFUL:
        assert set(result["codes"]) <= {"ENHANCE_YOUR_CALM", "COMPRESSION_ERROR"}
        assert result["codes"] or result["connections"] > 1


def test_nothing_is_left(appliance: Appliance) -> None:
    """After all that the appliance serves as before, and has logged no failure."""
    with client(appliance) as connection:
        assert connection.get("/echo").status == 200
    assert "Traceback" not in appliance.output()
