"""Watching the service: each step once, as it happens."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from appliance.errors import ApplianceError
from appliance.ops.commands import following
from appliance.ops.commands.following import Steps, act_and_tell, watch
from appliance.ops.control.client import NotRunningError
from appliance.ops.status.document import Document

Said = pytest.CaptureFixture[str]


def site(*steps: str, name: str = "one.test") -> Document:
    """One whose attempt has got so far."""
    progress = [{"at": f"2026-11-22T12:00:{number:02}", "step": step} for number, step in enumerate(steps)]
    return {"site": name, "names": [name], "progress": progress}


def test_each_step_once() -> None:
    """Also when an attempt is followed by another, and for each site by itself."""
    steps = Steps()
    assert [step["step"] for step in steps.new(site("a", "b"))] == ["a", "b"]
    assert steps.new(site("a", "b")) == []
    assert [step["step"] for step in steps.new(site("a", "b", "c"))] == ["c"]
    assert [step["step"] for step in steps.new(site("a", name="two.test"))] == ["a"]
    assert [step["step"] for step in steps.new(site("again"))] == ["again"]


@pytest.mark.parametrize("outcome", [{"site": 1}, ApplianceError("no"), KeyboardInterrupt()])
def test_steps_while_waiting(outcome: Any, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of earlier attempts are not told; what the action came to is passed on."""
    ready = threading.Event()
    looks = [{"sites": [site("old")]}, NotRunningError("busy"), {"sites": []}, {"sites": [site("old", "new")]}]

    def ask(folder: Path, command: str) -> Document:
        look = looks.pop(0) if len(looks) > 1 else looks[0]
        if len(looks) == 1:
            ready.set()
        if isinstance(look, Exception):
            raise look
        return look  # type: ignore[return-value]

    def act() -> Document:
        assert ready.wait(20)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    monkeypatch.setattr(following, "ask", ask)
    monkeypatch.setattr(following, "SHORTLY", 0.01)
    if isinstance(outcome, BaseException):
        with pytest.raises(type(outcome)):
            act_and_tell(tmp_path, "one.test", act)
    else:
        assert act_and_tell(tmp_path, "one.test", act) == outcome
    assert capsys.readouterr().err == "one.test: new\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_watching(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place on a terminal; new steps, line by line, anywhere else."""
    out = io.StringIO()
    looks = [{"sites": [site("a")]}, {"sites": [site("a")]}, {"sites": [site("a", "b")]}]
    monkeypatch.setattr(following, "INTERVAL", 0)

    def look() -> Document:
        if not looks:
            raise KeyboardInterrupt
        return looks.pop(0)

    def view(status: Document) -> Text:
        return Text(f"{len(status['sites'][0]['progress'])} steps")

    with pytest.raises(KeyboardInterrupt):
        watch(look, view, Console(file=out, force_terminal=terminal))
    if terminal:
        assert "1 steps" in out.getvalue()
        assert "2 steps" in out.getvalue()
    else:
        assert out.getvalue() == "one.test: a\none.test: b\n"
