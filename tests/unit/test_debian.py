"""The Debian package, as far as it can be looked at without being built: it keeps up with the program."""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from appliance import __version__
from appliance.config.file import load
from appliance.config.reading.configuration import CONFIGURATION
from appliance.config.reading.schema import key_paths
from appliance.ops.commands.cli import parser

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "debian"
SHIPPED = DEBIAN / "appliance.toml"


def commands() -> dict[str, argparse.ArgumentParser]:
    """All there are."""
    (action,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    return dict(action.choices)


def options(each: argparse.ArgumentParser) -> set[str]:
    """The long ones of a command."""
    return {name for action in each._actions for name in action.option_strings if name.startswith("--")}


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The manual, with roff's escapes of hyphens taken away."""
    monkeypatch.setattr("sys.argv", ["manpages.py", str(tmp_path)])
    runpy.run_path(str(DEBIAN / "manpages.py"), run_name="__main__")
    return {file.name: file.read_text().replace("\\-", "-") for file in tmp_path.iterdir()}


def test_the_version() -> None:
    """The package has the program's."""
    assert re.match(r"appliance \((.*?)\)", (DEBIAN / "changelog").read_text())[1] == __version__  # type: ignore[index]


def test_the_manual_of_the_commands(pages: dict[str, str]) -> None:
    """Every command with every option, and what its exit statuses mean."""
    sections = dict(re.findall(r"^\.SS (\S+)\n(.*?)(?=^\.S[SH])", pages["appliance.1"], re.MULTILINE | re.DOTALL))
    assert sections.keys() == commands().keys()
    for name, each in commands().items():
        assert {option for option in options(each) - {"--help"} if option not in sections[name]} == set()
    assert "no appliance is running there" in pages["appliance.1"]


def test_the_manual_of_the_service(pages: dict[str, str]) -> None:
    """Its options, which Twisted's help lists."""
    listed = set(re.findall(r"--[a-z-]+", pages["twist-appliance.8"].partition(".SH OPTIONS")[2]))
    assert {"--config", "--site", "--email", "--state-dir", "--demo", "--agree-tos"} <= listed


def test_the_manual_of_the_configuration(pages: dict[str, str]) -> None:
    """Every key."""
    text = pages["appliance.toml.5"]
    assert {path for path in key_paths(CONFIGURATION) if not re.search(rf"\b{path[-1]}\b", text)} == set()


def test_completion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command with every option, in what bash can read."""
    runpy.run_path(str(DEBIAN / "completion.py"), run_name="__main__")
    script = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=10)
    sections = dict(re.findall(r"^        (\S+)\)\n(.*?);;", script, re.MULTILINE | re.DOTALL))
    for name, each in commands().items():
        assert {option for option in options(each) if option not in sections[name]} == set()


def test_the_configuration_that_is_installed(tmp_path: Path) -> None:
    """Good, without sites; and with its comment signs taken away, good with one."""
    assert load(SHIPPED).sites == ()
    file = tmp_path / "appliance.toml"
    text = re.sub(r"^#(?=[\[\w])", "", SHIPPED.read_text(), flags=re.MULTILINE)
    file.write_text(text.replace("/var/log/appliance", str(tmp_path)))
    assert [site.name for site in load(file).sites] == ["example.com"]


def test_the_unit_can_be_led_to_the_environment() -> None:
    """debian/rules changes the line that starts the service, and no other."""
    unit = (ROOT / "etc" / "appliance.service").read_text()
    assert len(re.findall(r"^ExecStart=/usr/bin/twist appliance ", unit, re.MULTILINE)) == 1
    named = set(re.findall(r"^Exec\w+=(\S+)", unit, re.MULTILINE))
    assert named == {"/usr/bin/twist", "/usr/bin/appliance"}
