"""twist appliance --demo, as README.rst says, with certificates that live for seconds so that the test is short."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Program, free_ports

DEMO = """\
import sys
from datetime import timedelta
from appliance import demo
from twisted.application.twist._twist import Twist
demo.LIFETIME = timedelta(seconds=12)
Twist.main(["twist", "appliance", "--demo", *sys.argv[1:]])
"""


@pytest.fixture
def ports() -> list[int]:
    """For HTTP and for HTTPS."""
    return free_ports(2)


@pytest.fixture
def program(tmp_path: Path, ports: list[int]) -> Iterator[Program]:
    """The demo, running, with its output in a file."""
    http, https = (f"tcp:{port}:interface=127.0.0.1" for port in ports)
    with Program([sys.executable, "-c", DEMO, "--http", http, "--https", https], tmp_path / "log") as program:
        yield program


def commands(program: Program) -> list[str]:
    """What it says to try."""
    return re.findall(r"try: (curl .*)", program.output())


def curl(command: str) -> str:
    """The page; fails with what curl says."""
    done = subprocess.run(
        [*shlex.split(command), "--silent", "--show-error", "--fail", "--noproxy", "*"],
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_it_says_to_try_works_through_renewals(program: Program) -> None:
    """Both sites over verified TLS; their certificates are renewed while no request fails."""
    program.wait_for(lambda: len(commands(program)) == 2, 20, "both sites certified")
    one, two = commands(program)
    assert "This is one.localhost" in curl(one)
    assert "This is two.localhost" in curl(two)

    def renewed() -> bool:
        assert "by https" in curl(one)
        assert "by https" in curl(two)
        return all(f"{name}.localhost: renewed" in program.output() for name in ("one", "two"))

    program.wait_for(renewed, 30, "both certificates renewed")
    assert re.search("Renewed [1-9]", curl(one))


def test_plain_http_is_redirected(program: Program, ports: list[int]) -> None:
    """To the port that HTTPS is on."""
    program.wait_for(lambda: len(commands(program)) == 2, 20, "both sites certified")
    asked = (
        f"curl --output /dev/null --write-out '%{{http_code}} %{{redirect_url}}' http://one.localhost:{ports[0]}/a?b"
    )
    assert curl(asked) == f"308 https://one.localhost:{ports[1]}/a?b"


def test_it_leaves_nothing_behind(program: Program) -> None:
    """Its lines are readable, and its temporary folder goes when it is stopped."""
    program.wait_for(lambda: len(commands(program)) == 2, 20, "both sites certified")
    folder = Path(shlex.split(commands(program)[0])[2]).parent
    assert folder.is_dir()
    program.stop()
    assert not folder.exists()
    for line in program.output().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:+]+ \[appliance\.", line), line
