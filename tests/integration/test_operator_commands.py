"""The commands against a running appliance and a real Pebble, as an operator would use them."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import frozen

from appliance.tls.certificate import Certificate
from tests.support.appliance import Appliance, serial_of
from tests.support.certificates import make_certificate
from tests.support.operator import ask, run, site
from tests.support.pebble import Pebble, running_pebble
from tests.support.processes import free_port

NOBODY = "http://127.0.0.1:9"
CERTIFIED = 20.0


@frozen
class Running:
    """An appliance whose site one.test is certified, and its CA."""

    appliance: Appliance
    pebble: Pebble

    def serial(self) -> str:
        found = serial_of(self.appliance, "one.test", self.pebble.root())
        assert found is not None
        return f"{found:x}"


@contextlib.contextmanager
def running(folder: Path, more: str = "", tail: str = "", **settings: object) -> Iterator[Running]:
    """``more`` and ``tail`` go before and after the sites."""
    appliance = Appliance(folder)
    with running_pebble(appliance.http_port, **settings) as pebble:
        sites = [(["bad.test"], NOBODY), (["one.test", "www.one.test"], NOBODY)]
        appliance.configure(sites, pebble.directory_url, pebble.ca_file, more)
        appliance.config.write_text(appliance.config.read_text() + tail)
        with appliance:
            made = Running(appliance, pebble)
            appliance.wait_for(lambda: serial_of(appliance, "one.test", pebble.root()), CERTIFIED)
            yield made


def test_a_day_in_an_operators_life(tmp_path: Path) -> None:
    """Status, renewal, rollback and forward again, rehearsal, account, revocation: each says what it did."""
    hook = tmp_path / "hook.log"
    tail = (
        f'deploy_hook = ["/bin/sh", "-c", "echo $APPLIANCE_SERIAL >> {hook}"]\n'
        f'[site.export]\nto = "{tmp_path / "export"}"\n'
    )
    with running(tmp_path, tail=tail, blocklist=["bad.test"]) as made:
        appliance = made.appliance
        first = made.serial()
        appliance.wait_for(lambda: site(appliance, "one.test")["wire"]["checked"], 10, "the look at the wire")
        shown = site(appliance, "www.one.test")
        assert shown["certificate"]["serial"] == shown["wire"]["serial"] == first
        assert shown["wire"]["problem"] == shown["export"] == ""
        bad = site(appliance, "bad.test")
        assert "forbidden by policy" in bad["problem"]["message"]
        assert "take it out of the site's names" in bad["problem"]["message"]

        refused = run("renew", "one.test", "--config", appliance.config)
        assert refused.returncode == 1
        assert "nothing to do before" in refused.stderr
        renewed = run("renew", "one.test", "--force", "--config", appliance.config)
        assert renewed.returncode == 0, renewed.stderr
        second = made.serial()
        assert second != first
        assert second in renewed.stdout

        rehearsed = run("rehearse", "one.test", "--config", appliance.config)
        assert rehearsed.returncode == 0, rehearsed.stderr + rehearsed.stdout
        assert "would be certified (here)" in rehearsed.stdout
        assert made.serial() == second

        (account,) = ask(appliance, "account")["accounts"]
        key = Path(account["file"]).read_bytes()
        rolled = run("account", "--rollover", "--config", appliance.config)
        assert rolled.returncode == 0, rolled.stderr
        assert Path(account["file"]).read_bytes() != key

        revoked = run("revoke", "one.test", "--reason", "superseded", "--config", appliance.config)
        assert revoked.returncode == 0, revoked.stderr
        assert f"{second} is revoked" in revoked.stdout
        third = made.serial()
        assert third not in (first, second)
        assert "no previous certificate" in run("rollback", "one.test", "--config", appliance.config).stderr
        appliance.wait_for(lambda: third in hook.read_text().split(), 10, "the deploy hook")
        exported = Certificate.from_pem((tmp_path / "export" / "combined.pem").read_bytes())
        assert f"{exported.serial:x}" == third
        assert run("renew", "one.test", "--force", "--config", appliance.config).returncode == 0
        fourth = made.serial()
        for expected in (third, fourth):
            assert run("rollback", "one.test", "--config", appliance.config).returncode == 0
            assert made.serial() == expected
        assert "Traceback" not in appliance.output()


def test_the_doctor_finds_what_is_wrong(tmp_path: Path) -> None:
    """A name that leads elsewhere, one whose IPv6 address is broken, CAA, DNS that fails; and a name in good health."""
    with running(tmp_path) as made:
        pebble, appliance = made.pebble, made.appliance
        pebble.dns("add-a", host="elsewhere.test", addresses=["127.0.0.2"])
        pebble.dns("add-aaaa", host="six.test", addresses=["::1"])
        pebble.dns("set-servfail", host="broken.test")

        def examine(name: str) -> tuple[int, list[dict[str, str]]]:
            ports = ["--http-port", str(appliance.http_port), "--https-port", str(appliance.https_port)]
            resolver = ["--resolver", f"127.0.0.1:{pebble.dns_port}"]
            done = run("doctor", name, *ports, *resolver, "--config", appliance.config, "--json")
            return done.returncode, json.loads(done.stdout)["findings"]

        status, findings = examine("one.test")
        assert status == 0
        assert {finding["verdict"] for finding in findings} == {"good"}, findings
        assert {finding["name"] for finding in findings} == {"", "one.test", "www.one.test"}
        for name, word in (("elsewhere.test", "refused"), ("six.test", "IPv6"), ("broken.test", "SERVFAIL")):
            status, findings = examine(name)
            assert status == 1
            bad = [finding for finding in findings if finding["verdict"] == "bad"]
            assert any(word in finding["seen"] or word in finding["check"] for finding in bad), findings
            assert all(finding["advice"] for finding in bad)


def test_without_a_service(tmp_path: Path) -> None:
    """What is stored is told, with exit status 3; what needs the service says that it does not run."""
    appliance = Appliance(tmp_path).configure([(["one.test"], NOBODY)], "https://127.0.0.1:1/dir")
    kept = make_certificate(["one.test"])
    appliance.keep("one.test", kept)
    done = run("status", "--config", appliance.config)
    assert done.returncode == 3
    assert "not running" in done.stdout
    assert f"{kept.serial:x}"[:6] in done.stdout
    for command in (["renew", "one.test"], ["rollback", "one.test"], ["rehearse"], ["revoke", "one.test"], ["account"]):
        done = run(*command, "--config", appliance.config)
        assert done.returncode == 3, command
        assert "no appliance is running with state_dir" in done.stderr
        assert "Traceback" not in done.stderr
    done = run("export", "one.test", "--to", tmp_path / "out", "--config", appliance.config)
    assert done.returncode == 0
    assert Certificate.from_pem((tmp_path / "out" / "combined.pem").read_bytes()).serial == kept.serial
    assert "is still configured" in run("forget", "one.test", "--yes", "--config", appliance.config).stderr
    assert run("forget", "one.test", "--yes", "--state-dir", appliance.state_dir).returncode == 0
    assert run("status", "one.test", "--config", appliance.config).returncode == 3
    assert site(appliance, "one.test")["certificate"] is None


def test_a_certificate_in_danger_raises_the_alarm(tmp_path: Path) -> None:
    """One that is overdue while no CA answers: the program is called, once, with all that there is to say."""
    out = tmp_path / "alarm"
    appliance = Appliance(tmp_path)
    more = f'[alarm]\ncommand = ["/bin/sh", "-c", "cat >> {out}"]\n'
    appliance.configure([(["one.test"], NOBODY)], f"https://127.0.0.1:{free_port()}/dir", more=more)
    now = datetime.now(UTC)
    old = make_certificate(["one.test"], not_before=now - timedelta(days=76), not_after=now + timedelta(days=14))
    appliance.keep("one.test", old)
    with appliance:
        appliance.wait_for(lambda: out.exists() and out.read_text().endswith("}"), 90, "the alarm")
        alarm = json.loads(out.read_text())
        assert (alarm["event"], alarm["site"], alarm["kind"]) == ("alarm", "one.test", "late")
        assert "overdue for renewal" in alarm["message"]
        assert "nothing listens there" in alarm["message"]
        assert "overdue" in site(appliance, "one.test")["alarm"]


def test_curl_may_ask_too_and_nobody_else_may(tmp_path: Path) -> None:
    """The socket speaks HTTP; it is not to be had over TCP, and only its owner opens it."""
    appliance = Appliance(tmp_path).configure([(["one.test"], NOBODY)], "https://127.0.0.1:1/dir")
    with appliance:
        done = subprocess.run(
            ["curl", "-sS", "--unix-socket", appliance.state_dir / "control.sock", "http://appliance/v1/status"],
            capture_output=True,
            timeout=10,
            check=True,
        )
        assert json.loads(done.stdout)["running"] is True
        assert (appliance.state_dir / "control.sock").stat().st_mode & 0o777 == 0o600
        with socket.create_connection(("127.0.0.1", appliance.http_port), timeout=10) as client:
            client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: appliance\r\n\r\n")
            assert b"software" not in client.recv(1000)


@pytest.mark.parametrize(
    "command", ["status", "doctor", "renew", "rehearse", "rollback", "revoke", "account", "export"]
)
def test_help_has_examples_and_exit_statuses(command: str) -> None:
    """Of every command."""
    text = run(command, "--help").stdout
    assert f"appliance {command}" in text
    assert "examples:" in text
    assert "exit status:" in text
