"""``appliance init`` by somebody at a terminal, and the appliance that runs with what it wrote."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.support.appliance import ROOT, Appliance, serial_of
from tests.support.applications import uvicorn
from tests.support.operator import run
from tests.support.pebble import running_pebble

PROGRAM = [sys.executable, "-c", "import sys; from appliance.ops.commands.cli import main; sys.exit(main())"]


def converse(arguments: list[str], answers: list[str]) -> tuple[int, str]:
    """Run a command on a terminal of its own, with these lines typed; its status, and all that was on the terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True
    )
    os.close(theirs)
    os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # how Linux tells that the other end is closed
        pass
    os.close(ours)
    return process.wait(60), seen.decode("utf-8", "replace")


def test_three_questions_to_a_certificate(tmp_path: Path) -> None:
    """Asked, looked at, written, run: the site is certified, and its application answers."""
    appliance = Appliance(tmp_path)
    with uvicorn(tmp_path) as application, running_pebble(appliance.http_port) as pebble:
        arguments = [
            *("init", "--config", str(appliance.config), "--state-dir", str(appliance.state_dir)),
            *("--http", f"tcp:{appliance.http_port}:interface=127.0.0.1"),
            *("--https", f"tcp:{appliance.https_port}:interface=127.0.0.1"),
            *("--directory", pebble.directory_url, "--ca-file", str(pebble.ca_file)),
            *("--resolver", f"127.0.0.1:{pebble.dns_port}"),
        ]
        port = application.upstream.rpartition(":")[2]
        status, seen = converse(arguments, ["one.test, www.one.test", port, "nobody", "you@example.com"])
        assert status == 0, seen
        for words in (
            "The site's name",
            "Where your application listens",
            "e-mail",
            "must be",
            "is free",
            "is written",
        ):
            assert words in seen, words
        assert "\x1b[" in seen, "colour on a terminal"
        with appliance:
            appliance.wait_for(lambda: serial_of(appliance, "www.one.test", pebble.root()), 20)
            with appliance.client("one.test", pebble.root()) as client:
                assert client.get("/echo").status == 200
            told = run("certs", "--config", appliance.config, "--json")
            (certificate,) = json.loads(told.stdout)["certificates"]
            assert certificate["names"] == ["one.test", "www.one.test"]


def test_steps_of_an_order(tmp_path: Path) -> None:
    """Told while they happen, by the command that waits for the order."""
    appliance = Appliance(tmp_path)
    with running_pebble(appliance.http_port) as pebble:
        appliance.configure([(["one.test"], "http://127.0.0.1:9")], pebble.directory_url, pebble.ca_file)
        with appliance:
            appliance.wait_for(lambda: serial_of(appliance, "one.test", pebble.root()), 20)
            done = run("renew", "one.test", "--force", "--config", appliance.config)
    assert done.returncode == 0, done.stderr
    steps = [line.removeprefix("one.test: ") for line in done.stderr.splitlines()]
    assert steps[0] == "an operator asked for a new certificate"
    assert steps[1].startswith("orders a certificate for one.test from ")
    assert steps[-1].startswith("done: ")
    assert "has the certificate: saves it" in steps
