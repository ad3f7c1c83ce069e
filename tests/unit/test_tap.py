"""twist appliance: options in, a service or an exit status out."""

import io
import os
import socket
import sys
from pathlib import Path
from typing import IO, Any, cast

import pytest
from twisted.application.service import IServiceMaker
from twisted.application.twist._options import TwistOptions
from twisted.logger import textFileLogObserver
from twisted.plugin import getPlugins

from appliance import __version__, demo, tap
from appliance.app import Appliance
from appliance.ops.log.journal import journal_log_observer
from appliance.ops.log.jsonlines import json_log_observer
from appliance.ops.log.text import text_log_observer
from appliance.tap import Options, makeService

GOOD = ["--site", "a.example=http://127.0.0.1:8000", "--email", "a@example.com"]


@pytest.fixture(autouse=True)
def _same_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the reactor that all tests share as it is."""
    monkeypatch.setattr(tap, "make_monotonic", lambda reactor: None)
    monkeypatch.setattr(tap, "dispatch_directly", lambda reactor: None)


def parsed(*arguments: str) -> Options:
    """The options, parsed."""
    options = Options()
    options.parseOptions(arguments)
    return options


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is printed when they are refused, with status 2."""
    with pytest.raises(SystemExit) as exit:
        parsed(*arguments)
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_the_plugin_is_found() -> None:
    """By the way that twist looks for it, and it leads here."""
    (plugin,) = [each for each in getPlugins(IServiceMaker) if each.tapname == "appliance"]
    assert plugin.options is Options
    assert plugin.makeService is makeService


def test_options_become_a_configuration() -> None:
    """And that a service; nothing is started or made on disk yet."""
    options = parsed(*GOOD, "--state-dir", "/nonexistent/state")
    assert options.configuration is not None
    assert options.configuration.sites[0].name == "a.example"
    (appliance,) = makeService(options)
    assert isinstance(appliance, Appliance)


def test_repeated_options(tmp_path: Path) -> None:
    """Sites and endpoints may be given several times."""
    configuration = parsed(*GOOD, "--site", "b.example=http://b", "--https", "tcp:1", "--https", "tcp:2").configuration
    assert configuration is not None
    assert [site.name for site in configuration.sites] == ["a.example", "b.example"]
    assert configuration.listen.https == ("tcp:1", "tcp:2")


def test_every_mistake_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2 and without a traceback."""
    file = tmp_path / "appliance.toml"
    file.write_text("acme = {agree_tos = false}\nsite = 1\n")
    first, second, last = refused(capsys, "--config", str(file)).splitlines()
    assert first.startswith(f"{file}: line 1: acme.agree_tos: must be true")
    assert second.startswith(f"{file}: line 2: site: must be a list")
    assert last == "Nothing was started."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sites", "x"], "option --sites not recognized"),
        (["--email"], "option --email requires argument"),
        (["stray"], "Wrong number of arguments"),
        (["--site", "a.example"], "must be NAME[,NAME...]=UPSTREAM"),
        (["--demo", "--email", "a@example.com"], "--email: cannot be combined with --demo"),
        (["--demo", "--config", "x", "--site", "y"], "--site: cannot be combined with --demo"),
    ],
)
def test_options_that_cannot_be_used(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2 too, where twist alone would give 64."""
    assert words in refused(capsys, *arguments)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Shows the three ways to run."""
    with pytest.raises(SystemExit) as exit:
        parsed("--help")
    assert not exit.value.code
    text = capsys.readouterr().out
    for way in ("--config", "--site NAME[,NAME...]=UPSTREAM --email ADDRESS", "--demo"):
        assert way in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The appliance's, not Twisted's."""
    with pytest.raises(SystemExit):
        parsed("--version")
    assert capsys.readouterr().out == f"appliance {__version__}\n"


def test_readable_lines_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """twist writes JSON into pipes; the appliance only when it was asked for, and everything when debugging."""

    def observer(*before: str) -> object:
        monkeypatch.setattr(sys, "argv", ["twist", *before, "appliance", *GOOD])
        twist = TwistOptions()
        twist.parseOptions(sys.argv[1:])
        return twist["fileLogObserverFactory"]

    assert observer() is text_log_observer
    assert observer("--log-level", "warn") is text_log_observer
    assert observer("--log-format=json") is not text_log_observer
    assert observer("--log-format", "text") is textFileLogObserver
    assert observer("--log-level", "debug") is not text_log_observer


def test_the_log_as_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``[log]`` sets format and level; twist's own options go before it; systemd's journal is found by itself."""
    file = tmp_path / "appliance.toml"

    def parsed_log(table: str, *before: str, output: IO[str] | None = None) -> tuple[object, object]:
        file.write_text(
            f'{table}\n[acme]\nagree_tos = true\n[[site]]\nnames = ["a.example"]\nupstream = "http://127.0.0.1:1"\n'
        )
        monkeypatch.setattr(sys, "argv", ["twist", *before, "appliance", "--config", str(file)])
        twist = TwistOptions()
        twist["logFile"] = output or io.StringIO()
        twist.parseOptions(sys.argv[1:])
        return twist["fileLogObserverFactory"], twist["logLevel"].name

    assert parsed_log("") == (text_log_observer, "info")
    assert parsed_log('[log]\nformat = "json"\nlevel = "warn"') == (json_log_observer, "warn")
    assert parsed_log('[log]\nformat = "journal"\nlevel = "debug"') == (journal_log_observer, "debug")
    assert parsed_log('[log]\nformat = "json"\nlevel = "warn"', "--log-level=error") == (json_log_observer, "error")
    assert parsed_log('[log]\nformat = "json"', "--log-format=text") == (textFileLogObserver, "info")
    with (tmp_path / "output").open("w") as journal:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert parsed_log("", output=journal) == (journal_log_observer, "info")


def test_what_keeps_it_from_starting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is printed, with status 1: the options are right, but the machine is not."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exit:
        makeService(parsed("--demo", "--state-dir", str(tmp_path / "file" / "below")))
    assert exit.value.code == 1
    assert str(tmp_path / "file" / "below") in capsys.readouterr().err


def test_a_taken_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is a sentence and status 1, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        service = makeService(parsed(*GOOD, "--state-dir", str(tmp_path), "--http", endpoint, "--https", "tcp:0"))
        with pytest.raises(SystemExit) as exit:
            service.startService()
        (appliance,) = cast(Any, service)
        appliance.services = [part for part in appliance if part.running]  # the process ends as it is
        service.stopService()
    assert exit.value.code == 1
    assert f"cannot listen on {endpoint}: the port is taken" in capsys.readouterr().err


def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs with nothing else; its ports can be chosen, as long as they are TCP ports."""
    options = parsed("--demo", "--state-dir", str(tmp_path), "--http", "tcp:1", "--https", "tcp:2")
    assert options.configuration is None
    (service,) = makeService(options)
    assert isinstance(service, demo.Demo)
    with pytest.raises(SystemExit) as exit:
        makeService(parsed("--demo", "--http", "unix:/run/x", "--https", "tcp:0"))
    assert exit.value.code == 2
    first, second, _ = capsys.readouterr().err.splitlines()
    assert "--http: must be a TCP port" in first
    assert "--https: must be a TCP port" in second
