"""The maintenance switch, and the command for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from appliance.config import Route, Site
from appliance.errors import ApplianceError, StoreError
from appliance.ops.commands import maintenance
from appliance.ops.commands.cli import main
from appliance.ops.control.client import CommandFailedError, NotRunningError
from appliance.ops.service.maintenance import FILE_NAME, Maintenance
from tests.support.renewalworld import not_yet, succeeded

ONE = Site(("one.test", "www.one.test"), (Route("/"),))
TWO = Site(("two.test",), (Route("/"),), maintenance=True)


class Sites:
    """What answers for two sites."""

    sites = (ONE, TWO)

    def __init__(self) -> None:
        self.closed: list[frozenset[str]] = []

    def close(self, closed: frozenset[str]) -> None:
        self.closed.append(closed)


def made(folder: Path, defer: Callable[[Callable[[], Any]], Deferred[Any]] = execute) -> tuple[Maintenance, Sites]:
    """A switch, as it is after a start."""
    sites = Sites()
    maintenance = Maintenance(sites, folder, defer)
    maintenance.load()
    return maintenance, sites


def switch(maintenance: Maintenance, site: str, on: bool) -> Any:
    """What the command answers."""
    results: list[Any] = []
    work: Any = maintenance.commands()["maintenance"].call({"site": site, "on": on})
    Deferred.fromCoroutine(work).addBoth(results.append)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def test_on_and_off(tmp_path: Path) -> None:
    """By any name of the site; it is kept, and the sites are told only of what changes."""
    maintenance, sites = made(tmp_path)
    assert sites.closed == [frozenset()]
    assert switch(maintenance, "www.one.test", True) == {"site": "one.test", "maintenance": True}
    assert switch(maintenance, "one.test", True) == {"site": "one.test", "maintenance": True}
    assert sites.closed[1:] == [{"one.test"}]
    assert maintenance.closes("one.test")
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    again, sites_again = made(tmp_path)
    assert sites_again.closed == [{"one.test"}]
    assert switch(again, "one.test", False) == {"site": "one.test", "maintenance": False}
    assert sites_again.closed[1:] == [frozenset()]
    assert not again.closes("one.test")
    assert made(tmp_path)[1].closed == [frozenset()]


def test_by_configuration(tmp_path: Path) -> None:
    """What the file says is changed in the file."""
    maintenance, _ = made(tmp_path)
    assert maintenance.closes("two.test")
    with pytest.raises(ApplianceError, match="maintenance = true in its configuration"):
        switch(maintenance, "two.test", False)
    assert switch(maintenance, "two.test", True)["maintenance"]


def test_no_such_site(tmp_path: Path) -> None:
    """Says which there are."""
    with pytest.raises(ApplianceError, match=r"three.test is no site .* one.test, two.test"):
        switch(made(tmp_path)[0], "three.test", True)


def test_what_is_being_kept_is_waited_for(tmp_path: Path) -> None:
    """As before an upgrade: who reads the file after that knows of it."""
    keeping: Deferred[Any] = Deferred()
    maintenance, sites = made(tmp_path, lambda work: keeping)
    work: Any = maintenance.commands()["maintenance"].call({"site": "one.test", "on": True})
    switched = Deferred.fromCoroutine(work)
    settled = Deferred.fromCoroutine(maintenance.settle())
    not_yet(settled)
    keeping.callback(None)
    succeeded(settled)
    succeeded(switched)
    assert sites.closed[1:] == [{"one.test"}]


def test_not_kept(tmp_path: Path) -> None:
    """What cannot be kept is not done."""
    maintenance, sites = made(tmp_path)

    def fail(work: object) -> Deferred[Any]:
        return execute(_full)

    maintenance._defer = fail
    with pytest.raises(StoreError):
        switch(maintenance, "one.test", True)
    assert sites.closed == [frozenset()]


def _full() -> None:
    raise StoreError("the disk is full")


@pytest.mark.parametrize("content", ["", "[]", '{"sites": 1}', '{"sites": [1]}', "[" * 100_000, "{}"])
def test_damaged(tmp_path: Path, content: str) -> None:
    """A file that is of no use keeps no site from being served, and is told of."""
    (tmp_path / FILE_NAME).write_text(content)
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    _, sites = made(tmp_path)
    globalLogPublisher.removeObserver(observe)
    assert sites.closed == [frozenset()]
    assert "of no use" in lines[0]


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What it asks of the service, and what it says."""
    asked: list[Any] = []

    def act(folder: Path, command: str, **arguments: Any) -> dict[str, Any]:
        asked.append((folder, command, arguments))
        return {"site": "one.test", "maintenance": arguments["on"]}

    monkeypatch.setattr(maintenance, "act", act)
    for state in ("on", "off"):
        assert main(["maintenance", state, "www.one.test", "--state-dir", str(tmp_path)]) == 0
    assert asked[0] == (tmp_path, "maintenance", {"site": "www.one.test", "on": True})
    out = capsys.readouterr().out.splitlines()
    assert out == ["one.test: in maintenance, its requests are answered with 503", "one.test: served again"]
    assert main(["maintenance", "on", "one.test", "--state-dir", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"site": "one.test", "maintenance": True}


@pytest.mark.parametrize(("error", "status"), [(NotRunningError("no"), 3), (CommandFailedError("no"), 1)])
def test_command_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: ApplianceError,
    status: int,
) -> None:
    """By exit status, and in words."""

    def act(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(maintenance, "act", act)
    assert main(["maintenance", "on", "one.test", "--state-dir", str(tmp_path)]) == status
    assert capsys.readouterr().err == "no\n"
