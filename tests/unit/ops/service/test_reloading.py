"""Reloading: how it goes, who is told, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import capturedLogs, formatEvent

from appliance.config import Configuration
from appliance.config.difference import Difference
from appliance.config.file import state_dir_of
from appliance.errors import ApplianceError, ConfigurationError, ListenError, Mistake, RestartNeededError
from appliance.ops.commands import reload
from appliance.ops.commands.cli import main
from appliance.ops.control.client import CommandFailedError, NotRunningError
from appliance.ops.service.reloading import Reloading, Source
from tests.support.operator import somebody_listens
from tests.support.renewalworld import not_yet, succeeded
from tests.support.reports import NOW

BROKEN = ConfigurationError((Mistake("site[0].nmaes", "is not known", 3), Mistake("acme", "is missing")), "a.toml")


class Made:
    """A service that can be reloaded, without the service."""

    def __init__(self, source: Source | str | None = None) -> None:
        self.read: Callable[[], Configuration] = lambda: Configuration(())
        self.changed: list[Configuration] = []
        self.change: Callable[[Configuration], Any] = lambda wanted: Difference(added=("a.test",), settings=("limits",))
        self.told: list[bool] = []
        self.now = NOW
        source = Source("a.toml", lambda: self.read()) if source is None else source
        self.reloading = Reloading(source, self._change, lambda: self.now, maybeDeferred, self.told.append)

    async def _change(self, wanted: Configuration) -> Difference:
        self.changed.append(wanted)
        result = self.change(wanted)
        answer: Difference = await result if isinstance(result, Deferred) else result
        return answer

    def reload(self) -> Deferred[Any]:
        """Begin one."""
        return Deferred.fromCoroutine(self.reloading.reload())

    def refused(self) -> tuple[BaseException, list[str]]:
        """What one that fails comes to, and its log."""
        failures: list[BaseException] = []
        with capturedLogs() as events:
            self.reload().addErrback(lambda failure: failures.append(failure.value))
        return failures[0], [str(formatEvent(event)) for event in events]


def raising(error: Exception) -> Callable[..., Any]:
    """A function that raises it."""

    def fail(*_: object) -> Any:
        raise error

    return fail


def test_a_good_one() -> None:
    """What was different is returned and logged; the status says when."""
    made = Made()
    made.now += timedelta(hours=1)
    with capturedLogs() as events:
        answer = succeeded(made.reload())
    assert answer["file"] == "a.toml"
    assert answer["added"] == ["a.test"]
    assert answer["settings"] == ["limits"]
    assert [formatEvent(event) for event in events] == ["a.toml reloaded: added a.test; set limits"]
    assert made.told == [True]
    assert made.reloading.document() == {
        "file": "a.toml",
        "loaded": made.now.isoformat(),
        "failed": None,
        "error": "",
    }


def test_mistakes_in_the_file() -> None:
    """Nothing is changed; every mistake is in the log and in the status, until one goes well."""
    made = Made()
    made.read = raising(BROKEN)
    made.now += timedelta(hours=1)
    error, log = made.refused()
    assert error is BROKEN
    assert log == [
        "not reloaded: a.toml: line 3: site[0].nmaes: is not known",
        "not reloaded: a.toml: acme: is missing",
    ]
    assert made.changed == []
    assert made.told == [False]
    document = made.reloading.document()
    assert (document["loaded"], document["failed"]) == (NOW.isoformat(), made.now.isoformat())
    assert document["error"] == str(BROKEN)
    made.read = lambda: Configuration(())
    succeeded(made.reload())
    assert made.reloading.document()["error"] == ""


def test_what_takes_a_restart() -> None:
    """The file is named."""
    made = Made()
    made.change = raising(RestartNeededError((Mistake("state_dir", "no"),)))
    error, log = made.refused()
    assert str(error) == "a.toml: state_dir: no"
    assert log == ["not reloaded: a.toml: state_dir: no"]


def test_what_cannot_be_had() -> None:
    """A port that is taken, for one."""
    made = Made()
    made.change = raising(ListenError("taken"))
    assert made.refused()[1] == ["not reloaded: taken"]


def test_a_fault() -> None:
    """It is in the log with its traceback, and the next one is another chance."""
    made = Made()
    made.change = raising(ZeroDivisionError("x"))
    error, log = made.refused()
    assert isinstance(error, ZeroDivisionError)
    assert log == ["unexpected error in a reload"]
    assert "unexpected error: ZeroDivisionError" in made.reloading.document()["error"]
    made.change = lambda wanted: Difference()
    assert succeeded(made.reload())["summary"] == "nothing has changed"


def test_one_after_the_other() -> None:
    """The second reads the file when the first has ended."""
    made = Made()
    waiting: list[Deferred[Difference]] = []
    made.change = lambda wanted: waiting.append(Deferred()) or waiting[-1]  # type: ignore[func-returns-value]
    first, second = made.reload(), made.reload()
    assert len(made.changed) == 1
    waiting[0].callback(Difference())
    succeeded(first)
    not_yet(second)
    assert len(made.changed) == 2
    waiting[1].callback(Difference())
    succeeded(second)


def test_all_that_were_asked_for_are_waited_for() -> None:
    """As before an upgrade: the last one's end is what counts, and where there is none nobody waits."""
    made = Made()
    succeeded(Deferred.fromCoroutine(made.reloading.settle()))
    waiting: list[Deferred[Difference]] = []
    made.change = lambda wanted: waiting.append(Deferred()) or waiting[-1]  # type: ignore[func-returns-value]
    first, second = made.reload(), made.reload()
    settled = Deferred.fromCoroutine(made.reloading.settle())
    waiting[0].callback(Difference())
    succeeded(first)
    not_yet(settled)
    waiting[1].callback(Difference())
    succeeded(second)
    succeeded(settled)


def test_no_file() -> None:
    """It is said how it was started, and what to do."""
    error, log = Made("with --demo").refused()
    assert "started with --demo" in str(error)
    assert "--config FILE" in log[0]


# The command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good configuration."""
    file = tmp_path / "a.toml"
    file.write_text(
        f'state_dir = "{tmp_path}/state"\nacme = {{agree_tos = true}}\n'
        '[[site]]\nnames = ["a.test"]\nupstream = "http://127.0.0.1:1"\n'
    )
    return file


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> list[Path]:
    """Have the service answer so; the folders that it was asked in."""
    asked: list[Path] = []

    def act(folder: Path, command: str, timeout: float) -> Any:
        assert command == "reload"
        asked.append(folder)
        return answer()

    monkeypatch.setattr(reload, "act", act)
    return asked


def test_it_says_what_was_different(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a line, or as JSON."""
    asked = answering(monkeypatch, lambda: {"file": "x.toml", "summary": "added a.test"})
    assert main(["reload", "--config", str(file)]) == 0
    assert capsys.readouterr().out == "x.toml: reloaded: added a.test\n"
    assert main(["reload", "--config", str(file), "--json"]) == 0
    assert '"summary": "added a.test"' in capsys.readouterr().out
    assert asked == [file.parent / "state"] * 2


@pytest.mark.parametrize(
    ("error", "status", "begins"),
    [
        (CommandFailedError("a.toml: line 3: x", 422), 2, "a.toml: line 3: x\n"),
        (CommandFailedError("port taken", 409), 1, "not reloaded: port taken\n"),
        (NotRunningError("nobody"), 3, "nobody\n"),
        (ApplianceError("no permission"), 1, "no permission\n"),
    ],
)
def test_it_fails(
    file: Path,
    error: ApplianceError,
    status: int,
    begins: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit status tells mistakes in the file from the rest; they are printed as check prints them."""
    answering(monkeypatch, raising(error))
    assert main(["reload", "--config", str(file)]) == status
    assert capsys.readouterr().err == begins


def test_a_file_with_mistakes_still_leads_to_the_service(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which is to hear of them; where none runs, they are printed all the same."""
    file.write_text(file.read_text() + "[[[")
    asked = answering(monkeypatch, raising(CommandFailedError("line 4: mistakes", 422)))
    assert main(["reload", "--config", str(file)]) == 2
    assert "is not TOML" in capsys.readouterr().err
    for folder, options in ((file.parent / "state", []), (file.parent / "x", ["--state-dir", str(file.parent / "x")])):
        with somebody_listens(folder):
            assert main(["reload", "--config", str(file), *options]) == 2
        assert capsys.readouterr().err == "line 4: mistakes\n"
        assert asked.pop() == folder
    assert asked == []


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ('x = [\nstate_dir = "below"', "below"),
        ("  state_dir='/away' # there\n[[", "/away"),
        ("state_dir = 7", "/var/lib/appliance"),
        ("state_dir = '", "/var/lib/appliance"),
        pytest.param(f"state_dir = {'9' * 5000}", "/var/lib/appliance", id="long"),
        pytest.param(f"state_dir = {'[' * 20000}", "/var/lib/appliance", id="deep"),
        ("", "/var/lib/appliance"),
    ],
)
def test_the_folder_of_a_broken_file(tmp_path: Path, text: str, folder: str) -> None:
    """As far as it can be made out."""
    (tmp_path / "a.toml").write_text(text)
    assert state_dir_of(tmp_path / "a.toml") == tmp_path / folder


def test_the_folder_of_no_file(tmp_path: Path) -> None:
    """None: whoever mistyped a name does not mean the service in the default folder."""
    assert state_dir_of(tmp_path / "a.toml") is None
