"""``appliance logs``: which log there is, and its lines."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from appliance.ops.commands import logs
from appliance.ops.commands.cli import main

Said = pytest.CaptureFixture[str]

REQUEST = {
    "time": "2026-11-22T12:00:00.000Z",
    "site": "one.test",
    "status": 502,
    "method": "GET",
    "host": "www.one.test",
    "target": "/\x1b[2J",
    "seconds": 0.25,
    "client": "192.0.2.7",
    "fault": "connect",
}


def line(**changed: object) -> str:
    """One of the access log, which writes no blanks."""
    return json.dumps({**REQUEST, **changed}, separators=(",", ":")) + "\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration without any log, on a machine without a journal."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return configure(tmp_path, "")


def configure(folder: Path, more: str) -> Path:
    path = folder / "appliance.toml"
    path.write_text(
        f'state_dir = "{folder}"\nacme = {{agree_tos = true}}\n{more}\n'
        + '[[site]]\nnames = ["one.test", "www.one.test"]\nupstream = "http://127.0.0.1:1"\n'
    )
    return path


def journal(folder: Path, status: int = 0) -> None:
    """A journalctl that says what it was asked for."""
    program = folder / "journalctl"
    program.write_text(f'#!/bin/sh\necho journal "$@"\nexit {status}\n')
    program.chmod(0o755)


def test_no_log_at_all(file: Path, capsys: Said) -> None:
    """Both are said to be missing, and how to have them."""
    assert main(["logs", "--config", str(file)]) == 1
    err = capsys.readouterr().err
    assert "no access log is configured" in err
    assert "no journal on this machine" in err
    assert main(["logs", "--json", "--config", str(file)]) == 1
    assert json.loads(capsys.readouterr().out) == {"error": err.removesuffix("\n"), "status": 1}
    assert main(["logs", "--state-dir", str(file.parent)]) == 2
    assert "--config" in capsys.readouterr().err


def test_the_access_log(file: Path, capsys: Said) -> None:
    """Lines for people, which cannot command the terminal; the same for programs as they are kept."""
    log = file.parent / "access.log"
    configure(file.parent, f'[access_log]\nfile = "{log}"\n')
    where = ["--access", "--config", str(file)]
    assert main(["logs", *where]) == 1
    assert "not there yet" in capsys.readouterr().err
    log.write_text(line(site="two.test", status=404) + line() + "what is this\n")
    assert main(["logs", *where]) == 0
    said = capsys.readouterr()
    assert said.err == f"access log: {log}\n"
    assert said.out.splitlines()[1:] == [
        "2026-11-22T12:00:00.000Z one.test 502 GET www.one.test/\\x1b[2J 250 ms 192.0.2.7 failed: connect",
        "what is this",
    ]
    assert main(["logs", "--site", "www.one.test", "--json", *where]) == 0
    assert capsys.readouterr().out == line()
    assert main(["logs", "-n", "0", *where]) == 0
    assert capsys.readouterr().out == ""
    assert main(["logs", "--site", "three.test", *where]) == 1
    assert "three.test is no site here; the sites are one.test" in capsys.readouterr().err


def test_a_log_that_may_not_be_read(file: Path, capsys: Said) -> None:
    """Status 1, with the name; even root cannot read a socket."""
    log = file.parent / "access.log"
    configure(file.parent, f'[access_log]\nfile = "{log}"\n')
    os.mknod(log, stat.S_IFSOCK | 0o600)
    assert main(["logs", "--access", "--config", str(file)]) == 1
    assert f"{log}: No such device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "arguments", "words"),
    [
        ('file = "-"', [], "standard output"),
        ('file = "access.log"\nformat = "combined"', ["--site", "one.test"], "name no site"),
        ('file = "access.log"\nformat = "combined"', ["--json"], "name no site"),
    ],
)
def test_an_access_log_that_does_not_serve(
    file: Path, capsys: Said, settings: str, arguments: list[str], words: str
) -> None:
    """Said with the reason."""
    configure(file.parent, f"[access_log]\n{settings}\n")
    assert main(["logs", "--access", *arguments, "--config", str(file)]) == 1
    said = capsys.readouterr()
    assert words in (said.out if "--json" in arguments else said.err)


def test_the_journal(file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the fields that the service logs with; its exit status counts."""
    journal(file.parent)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.defpath}")
    assert main(["logs", "--site", "www.one.test", "-n", "5", "--json", "--service", "--config", str(file)]) == 0
    assert capfd.readouterr().out == (
        "journal --quiet -t appliance -n 5 --no-pager APPLIANCE_SITE=one.test --output json\n"
    )
    journal(file.parent, 1)
    assert main(["logs", "--service", "--config", str(file)]) == 1
    configure(file.parent, '[log]\nformat = "json"\n')
    assert main(["logs", "--service", "--config", str(file)]) == 1
    assert '[log] format is "json"' in capfd.readouterr().err


def test_following(file: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is interrupted, which is no failure; only what is wanted."""
    log = file.parent / "access.log"
    log.write_text(line())
    configure(file.parent, f'[access_log]\nfile = "{log}"\n')
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        with log.open("a") as out:
            out.write(line(site="two.test") + line(status=200))

    monkeypatch.setattr(logs.time, "sleep", sleep)
    assert main(["logs", "--access", "-f", "--site", "one.test", "--config", str(file)]) == 0
    assert [row.split()[2] for row in capsys.readouterr().out.splitlines()] == ["502", "200"]


@pytest.mark.parametrize("count", ["-1", "x", "1000000"])
def test_counts(count: str, file: Path) -> None:
    """Bounded."""
    with pytest.raises(SystemExit):
        main(["logs", "-n", count, "--config", str(file)])
