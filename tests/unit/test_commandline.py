"""Options of twist appliance as overrides of a file's keys."""

from pathlib import Path

import pytest

from appliance import commandline
from appliance.commandline import CommandLine
from appliance.config import LETS_ENCRYPT, Configuration, Listen, Route, Site, UpstreamAddress
from appliance.errors import ConfigurationError

APP = "http://127.0.0.1:8000"


def refused(line: CommandLine) -> list[str]:
    """Its mistakes."""
    with pytest.raises(ConfigurationError) as caught:
        line.configuration()
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file."""
    file = tmp_path / "appliance.toml"
    file.write_text(f'acme.agree_tos = true\n[[site]]\nnames = ["a.example"]\nupstream = "{APP}"\n')
    return file


def test_sites_without_a_file() -> None:
    """Two options run two sites; giving an address agrees to the terms."""
    line = CommandLine(site=[f"a.example,www.a.example={APP}", "b.example=unix:/run/b=c.sock"], email="a@example.com")
    configuration = line.configuration()
    assert configuration.sites == (
        Site(("a.example", "www.a.example"), (Route("/", (UpstreamAddress("127.0.0.1", 8000),)),)),
        Site(("b.example",), (Route("/", (UpstreamAddress(path="/run/b=c.sock"),)),)),
    )
    assert configuration.acme.agree_tos
    assert configuration.acme.email == "a@example.com"
    assert configuration.acme.directory == LETS_ENCRYPT


def test_a_file(file: Path) -> None:
    """Is read as it is."""
    assert CommandLine(config=str(file)).configuration().sites[0].name == "a.example"


def test_options_override_the_file(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their file names are relative to where the command is run, not to the file's folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    line = CommandLine(
        config=str(file),
        http=["tcp:1", "tcp:2"],
        https=["tcp:3"],
        state_dir="state",
        directory="https://ca.example/",
        email="b@example.com",
    )
    configuration: Configuration = line.configuration()
    assert configuration.listen == Listen(("tcp:1", "tcp:2"), ("tcp:3",))
    assert configuration.state_dir == tmp_path / "here" / "state"
    assert configuration.acme.directory == "https://ca.example/"


def test_agreement_without_an_address() -> None:
    """For those whose CA does not ask for one."""
    assert CommandLine(site=[f"a.example={APP}"], agree_tos=True).configuration().acme.email is None


def test_agreement_is_needed() -> None:
    """Neither given: the message says what giving it means."""
    (message,) = refused(CommandLine(site=[f"a.example={APP}"]))
    assert message.startswith("--email: is missing")
    assert "terms of service" in message


def test_a_file_needs_its_own_agreement(file: Path) -> None:
    """An address beside a file agrees to nothing; --agree-tos does."""
    file.write_text(file.read_text().replace("true", "false"))
    (message,) = refused(CommandLine(config=str(file), email="a@example.com"))
    assert message.startswith("line 1: acme.agree_tos: must be true")
    assert CommandLine(config=str(file), agree_tos=True).configuration().acme.agree_tos


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """Those in the options' form, and those in their values, each under its option."""
    messages = refused(
        CommandLine(
            site=["a.example", f"http://b.example={APP}", f"c.example,c.example={APP}", "d.example="],
            http=["80"],
            ca_file=str(tmp_path / "absent.pem"),
            state_dir="",
        )
    )
    assert {message.partition(": ")[0] for message in messages} == {
        "--site a.example",
        "--email",
        "--state-dir",
        "--http",
        "--ca-file",
        f"--site http://b.example={APP}",
        f"--site c.example,c.example={APP}",
        "--site d.example=",
    }


def test_sites_beside_a_file_are_refused(file: Path) -> None:
    """There would be two places to look for them."""
    (message,) = refused(CommandLine(config=str(file), site=[f"b.example={APP}"]))
    assert message.startswith("--site: is for running without a file")


def test_no_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever just types the command is told what to type."""
    monkeypatch.setattr(commandline, "DEFAULT_FILE", tmp_path / "absent.toml")
    unreadable, advice = refused(CommandLine())
    assert "cannot be read: No such file" in unreadable
    assert "--demo" in advice
