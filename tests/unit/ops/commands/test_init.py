"""``appliance init``: its questions, what it looks at, what it writes."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path

import pytest

from appliance.config import UpstreamAddress
from appliance.config.file import load
from appliance.ops.commands import init
from appliance.ops.commands.cli import main
from appliance.ops.diagnosis.findings import BAD, GOOD, WARNING, Finding

Said = pytest.CaptureFixture[str]

GIVEN = ["--site", "example.com, www.example.com", "--upstream", "8000", "--email", "a@example.com"]


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_by_options(tmp_path: Path, capsys: Said) -> None:
    """Nothing is asked; what comes next is said."""
    path = tmp_path / "c.toml"
    assert main(["init", *GIVEN, "--config", str(path), "--no-check"]) == 0
    assert load(path).sites[0].names == ("example.com", "www.example.com")
    out = capsys.readouterr().out
    assert f"{path} is written" in out
    assert f"twist appliance --config {path}" in out
    assert main(["init", *GIVEN, "--config", str(path), "--no-check"]) == 1
    assert "--force replaces it" in capsys.readouterr().err
    assert main(["init", *GIVEN, "--config", str(path), "--no-check", "--force"]) == 0
    assert "is what was there before" in capsys.readouterr().out
    assert main(["init", *GIVEN, "--config", str(path), "--no-check", "--force", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["file"], answer["findings"]) == (str(path), [])


def test_a_system_without_a_resolver(tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs one to look at DNS, and only for that."""
    make = init.make_resolver
    monkeypatch.setattr(init, "make_resolver", lambda address: make(address, str(tmp_path / "resolv.conf")))
    assert main(["init", *GIVEN, "--config", str(tmp_path / "c.toml")]) == 2
    assert "--resolver: is needed" in capsys.readouterr().err
    assert main(["init", *GIVEN, "--config", str(tmp_path / "c.toml"), "--no-check"]) == 0


def test_names_that_no_file_can_have(tmp_path: Path, capsys: Said) -> None:
    """A folder, nothing in a file's place, too long a name: nothing is asked, moved or left behind."""
    name = "x" * 305
    os.mkfifo(tmp_path / "pipe")
    for file, words in ((tmp_path, "a folder"), (tmp_path / "pipe", "no regular file"), (tmp_path / name, "too long")):
        for force in ([], ["--force"]):
            assert main(["init", *GIVEN, "--config", str(file), "--no-check", *force]) == 1
            said = capsys.readouterr()
            assert words in said.err
            assert "--config" in said.err
            assert said.out == ""
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_a_configuration_without_sites(tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is replaced, and kept; where the service runs already, it has the ports, and is to be reloaded."""
    path = tmp_path / "c.toml"
    path.write_text("drain_timeout = 5\n")
    monkeypatch.setattr(init, "ask", lambda state_dir, command: {})
    monkeypatch.setattr(init, "examine", lambda patient, patience: [])
    assert main(["init", *GIVEN, "--config", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"appliance reload --config {path}" in out
    assert "port 80" not in out
    assert (tmp_path / "c.toml.before-init").read_text() == "drain_timeout = 5\n"
    path.write_text("what is this")
    assert main(["init", *GIVEN, "--config", str(path), "--no-check"]) == 1


def test_questions(tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three; one that is answered wrongly is asked again, with what is wrong."""
    answers = "not a name!\n\nexample.com\n8000\nnobody\na@example.com\n"
    monkeypatch.setattr("sys.stdin", Terminal(answers))
    path = tmp_path / "c.toml"
    assert main(["init", "--config", str(path), "--no-check"]) == 0
    found = load(path)
    assert (found.sites[0].name, found.acme.email) == ("example.com", "a@example.com")
    err = capsys.readouterr().err
    assert err.count(init._SITE) == 3
    assert err.count(init._EMAIL) == 2
    assert "must be" in err


@pytest.mark.parametrize(("answers", "status"), [("", 1), ("!\n" * 9, 1)])
def test_no_answers(answers: str, status: int, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """None, or none of use: nothing is written."""
    monkeypatch.setattr("sys.stdin", Terminal(answers))
    directory = ["--directory", "https://ca.example/"]
    assert main(["init", "--config", str(tmp_path / "c.toml"), "--no-check", *directory]) == status
    assert "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nobody_to_ask(tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then every answer must be an option; those that make no sense are told by their names."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    where = ["--config", str(tmp_path / "c.toml"), "--no-check"]
    assert main(["init", "--site", "a.example", *where]) == 1
    assert "give --upstream, --email" in capsys.readouterr().err
    assert main(["init", *GIVEN, "--email", "nobody", *where]) == 2
    assert "--email" in capsys.readouterr().err
    assert main(["init", *GIVEN, "--resolver", "x", "--config", str(tmp_path / "c.toml")]) == 2


def test_what_it_looks_at(tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports, the application, DNS and CA; what is bad does not keep the file from being written."""
    seen: list[init.Patient] = []

    def examine(patient: init.Patient, longest: float) -> list[Finding]:
        seen.append(patient)
        bad = Finding("example.com", "DNS", BAD, "does not exist in DNS", "Add it.")
        return [bad, Finding("example.com", "port 80", BAD, "nobody there")]

    monkeypatch.setattr(init, "examine", examine)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        where = [
            "--config",
            str(tmp_path / "c.toml"),
            "--http",
            f"tcp:{port}",
            "--https",
            "unix:/s",
            "--upstream",
            port,
        ]
        assert main(["init", *GIVEN, *where]) == 0
        assert seen[0].http_port == int(port)
        out = capsys.readouterr().out
        for words in ("taken by another program", "accepts connections", "does not exist in DNS", "is written"):
            assert words in out
        assert "nobody there" not in out, "nothing runs yet, so nobody is expected there"
        assert main(["init", *GIVEN, *where, "--force", "--json"]) == 0
    assert [each["verdict"] for each in json.loads(capsys.readouterr().out)["findings"]] == [BAD, GOOD, BAD]


@pytest.mark.parametrize(
    ("number", "verdict", "words"), [(98, BAD, "taken"), (13, WARNING, "this user"), (22, WARNING, "cannot")]
)
def test_ports(number: int, verdict: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free, taken, or not for us."""
    assert init.look_at_port(0).verdict == GOOD

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(init.socket, "create_server", refuse)
    found = init.look_at_port(80)
    assert found.verdict == verdict
    assert words in found.seen


def test_applications(tmp_path: Path) -> None:
    """By socket and by port."""
    path = str(tmp_path)[-80:] + "/no.sock"
    assert init.look_at_application(UpstreamAddress(path=path)).verdict == WARNING
    assert init.look_at_application(UpstreamAddress("127.0.0.1", 1)).verdict == WARNING
