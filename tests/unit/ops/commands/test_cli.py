"""The appliance command."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from appliance import __version__
from appliance.ops.commands import cli, terminal
from appliance.ops.commands.cli import main

GOOD = """\
acme = {agree_tos = true}
[[site]]
names = ["a.example", "b.example"]
upstream = "http://127.0.0.1:8000"
[[site.route]]
path = "/v1"
upstream = ["http://c", "unix:/run/d.sock"]
"""


def test_check_of_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0, and a line for each site."""
    file = tmp_path / "appliance.toml"
    file.write_text(GOOD)
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{file}: good, 1 site",
        "  a.example, b.example: /v1 -> http://c:80 unix:/run/d.sock; / -> http://127.0.0.1:8000",
    ]
    assert [each.name for each in tmp_path.iterdir()] == ["appliance.toml"]


def test_check_of_more_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What they do not share is said."""
    file = tmp_path / "appliance.toml"
    site = '[[site]]\nnames = ["one.test"]\nupstream = "http://127.0.0.1:8000"\n'
    file.write_text(f"workers = 2\n[acme]\nagree_tos = true\n{site}")
    assert main(["check", str(file)]) == 0
    assert "workers = 2: limits, rate_limit" in capsys.readouterr().out


def test_check_of_a_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and every mistake on a line of its own, on the error output."""
    file = tmp_path / "appliance.toml"
    file.write_text(GOOD.replace("true", "false").replace("b.example", "b.example."))
    assert main(["check", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition("must")[0] for line in err.splitlines()] == [
        f"{file}: line 1: acme.agree_tos: ",
        f"{file}: line 3: site[0].names[1]: ",
    ]


def test_what_cannot_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is a mistake as any other, with its key, also for programs."""
    file = tmp_path / "appliance.toml"
    name = "x" * 300
    file.write_text(
        f'state_dir = "{name}"\n{GOOD}[access_log]\nfile = "{name}/a.log"\n[[site]]\nnames = ["c.example"]\n'
    )
    with file.open("a") as more:
        more.write(f'root = "{name}"\n')
    assert main(["check", str(file), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert [mistake["path"] for mistake in answer["mistakes"]] == ["state_dir", "access_log.file", "site[1].root"]
    for mistake in answer["mistakes"]:
        assert mistake["message"].startswith(f"cannot be looked at: {tmp_path}/{name}")
        assert mistake["message"].endswith("File name too long")


def test_a_default_file_that_cannot_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is not taken for one that is not there: the reason is told."""
    monkeypatch.setattr(terminal, "DEFAULT_FILE", tmp_path / ("x" * 300))
    assert main(["status"]) == 2
    assert "cannot be read: File name too long" in capsys.readouterr().err


def test_what_the_system_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no command has words of its own for it, here without a folder to be in, it is told in the system's."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["status", "--state-dir", "state"]) == 1
    assert capsys.readouterr().err == "could not be done: No such file or directory\n"
    assert main(["status", "--state-dir", "state", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"error": "could not be done: No such file or directory", "status": 1}


def test_several_sites_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the plural."""
    file = tmp_path / "appliance.toml"
    file.write_text(GOOD + '[[site]]\nnames = ["c.example"]\nupstream = "http://c"\n')
    assert main(["check", str(file)]) == 0
    assert f"{file}: good, 2 sites" in capsys.readouterr().out


def test_check_without_sites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is good, but does nothing, says what to do."""
    file = tmp_path / "appliance.toml"
    file.write_text("")
    assert main(["check", str(file)]) == 0
    assert f"good, but no site is configured yet: add a [[site]] to {file}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["chekc"], ["check", "a", "b"]])
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, with the usage."""
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert "usage: appliance" in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """And says how the service itself is run."""
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "appliance check ./appliance.toml" in text
    assert "twist appliance --config" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The package's."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"appliance {__version__}\n"


def test_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m appliance`` is the same command."""
    monkeypatch.setattr("sys.argv", ["appliance", "--version"])
    with pytest.raises(SystemExit):
        runpy.run_module("appliance", run_name="__main__")
    assert capsys.readouterr().out == f"appliance {__version__}\n"


def test_check_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sites and routes, or every mistake with its place."""
    file = tmp_path / "appliance.toml"
    file.write_text(GOOD)
    assert main(["check", str(file), "--json"]) == 0
    (site,) = json.loads(capsys.readouterr().out)["sites"]
    assert site["names"] == ["a.example", "b.example"]
    expected = {"path": "/", "upstreams": ["http://127.0.0.1:8000"], "answer": "http://127.0.0.1:8000"}
    assert site["routes"][1] == expected
    file.write_text(GOOD.replace("true", "false"))
    assert main(["check", str(file), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["status"], answer["mistakes"][0]["path"], answer["mistakes"][0]["line"]) == (2, "acme.agree_tos", 1)


@pytest.mark.parametrize("command", [["check", "FILE", "--json"], ["check", "FILE"], ["status", "--state-dir", "none"]])
def test_nobody_reads_on(tmp_path: Path, command: list[str]) -> None:
    """As after ``| head -1``: the command ends, without a word."""
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "wb") as output:
        ended = printing_to(output, tmp_path, command)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_no_room_for_the_output(tmp_path: Path) -> None:
    """Is said, and a failure."""
    with open("/dev/full", "wb") as output:
        ended = printing_to(output, tmp_path, ["check", "FILE"])
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "cannot print: No space left on device"
    assert "Traceback" not in ended.stderr


def printing_to(output: IO[bytes], folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, about a good file."""
    file = folder / "appliance.toml"
    file.write_text(GOOD)
    arguments = [str(file) if argument == "FILE" else argument for argument in command]
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments], stdout=output, stderr=subprocess.PIPE, text=True, check=False
    )


def test_the_manual_has_every_command_and_option() -> None:
    """In ``docs/commands.rst``, as the parser has them."""
    text = (Path(__file__).parents[4] / "docs" / "commands.rst").read_text()
    commands = next(action.choices for action in cli.parser()._actions if action.dest == "command" or action.choices)
    assert commands is not None
    for name, parser in dict(commands).items():
        assert f"appliance {name}" in text or f"``{name}``" in text, name
        for action in parser._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help") or f"``{option}" in text, f"{name} {option}"
