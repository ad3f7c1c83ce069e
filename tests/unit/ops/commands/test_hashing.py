"""``appliance hash-password``."""

from __future__ import annotations

import io

import pytest

from appliance.ops.commands import hashing
from appliance.ops.commands.cli import main
from appliance.passwords import check_hash, matches


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


def test_from_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first line, without its end; what is printed is a hash of it and nothing else."""
    monkeypatch.setattr("sys.stdin", io.StringIO("pä ss\r\nmore\n"))
    assert main(["hash-password"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    check_hash(line)
    assert matches("pä ss".encode(), line)


def test_typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice the same."""
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(hashing, "getpass", lambda prompt: "secret")
    assert main(["hash-password"]) == 0
    assert matches(b"secret", capsys.readouterr().out.strip())
    typed = iter(["secret", "secrit"])
    monkeypatch.setattr(hashing, "getpass", lambda prompt: next(typed))
    assert main(["hash-password"]) == 1
    assert "two different passwords" in capsys.readouterr().err


def test_no_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The end of input in place of a password, as by Ctrl-D."""
    monkeypatch.setattr("sys.stdin", Terminal())

    def end(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(hashing, "getpass", end)
    assert main(["hash-password"]) == 1
    assert capsys.readouterr().err == "no password was given\n"


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_what_is_no_text(errors: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are not UTF-8 are refused, whatever the locale makes of them, and not repeated."""
    given = io.TextIOWrapper(io.BytesIO(b"\xff\xfesecret\n"), encoding="utf-8", errors=errors)
    monkeypatch.setattr("sys.stdin", given)
    assert main(["hash-password"]) == 1
    said = capsys.readouterr()
    assert "not UTF-8" in said.err
    assert "secret" not in said.out + said.err


def test_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty line is no password."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main(["hash-password"]) == 1
    assert "empty" in capsys.readouterr().err
