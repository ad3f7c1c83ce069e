"""``[alarm]``, ``[site.export]`` and ``deploy_hook``."""

from __future__ import annotations

import grp
import os
import re
from pathlib import Path

import pytest

from appliance.config import Configuration
from appliance.config.alarm import Alarm, Export
from appliance.config.file import load
from appliance.errors import ConfigurationError

GROUP = grp.getgrgid(os.getgid()).gr_name


def read(folder: Path, alarm: str = "", site: str = "") -> Configuration:
    """A configuration with these lines in the two tables."""
    file = folder / "appliance.toml"
    file.write_text(
        f"acme = {{agree_tos = true}}\n[alarm]\n{alarm}\n"
        f'[[site]]\nnames = ["a.example"]\nupstream = "http://127.0.0.1:8000"\n{site}\n'
    )
    return load(file)


def test_all_keys(tmp_path: Path) -> None:
    """Programs by their name or file, files relative to the configuration's folder."""
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    (tmp_path / "hook").chmod(0o755)
    configuration = read(
        tmp_path,
        'webhook = "https://hooks.example.com/x"\ncommand = ["true", "x"]\nemail = "a@b.example"\nsendmail = "mail"',
        f'deploy_hook = "./hook"\n[site.export]\nto = "out"\ngroup = "{GROUP}"',
    )
    assert configuration.alarm == Alarm("https://hooks.example.com/x", ("true", "x"), "a@b.example", tmp_path / "mail")
    assert configuration.alarm.ways
    (site,) = configuration.sites
    assert site.deploy_hook == (str(tmp_path / "hook"),)
    assert site.export == Export(tmp_path / "out", GROUP)


def test_nothing_is_the_default(tmp_path: Path) -> None:
    """Nobody is told, nothing is run."""
    configuration = read(tmp_path)
    assert not configuration.alarm.ways
    assert (configuration.sites[0].export, configuration.sites[0].deploy_hook) == (None, ())


@pytest.mark.parametrize(
    ("alarm", "site", "words"),
    [
        ('webhook = "ftp://x"', "", "alarm.webhook: must be a URL such as"),
        ('webhook = "https://"', "", "alarm.webhook: must be a URL such as"),
        ('webhook = "https://[x"', "", "alarm.webhook: must be a URL such as"),
        ('command = ["no-such-program"]', "", "alarm.command: must be a program and its arguments"),
        ('command = "true x"', "", "each in quotes of its own: true … cannot be run"),
        ('email = "nobody"', "", "alarm.email"),
        ("", 'deploy_hook = ["/no/such"]', "/no/such cannot be run"),
        ("", "[site.export]", "site[0].export.to: is missing: the folder for the copies"),
        ("", '[site.export]\nto = "x"\ngroup = "no-such-group"', "groupadd no-such-group makes it"),
    ],
)
def test_mistakes(tmp_path: Path, alarm: str, site: str, words: str) -> None:
    """Each says what would be right."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, alarm, site)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("alarm", "site"),
    [
        ('webhook = "https//hooks.example.com/hush"', ""),
        ('webhook = " https://hooks.example.com/hush"', ""),
        ('webhook = """\nhttps://hooks.example.com/\nhush"""', ""),
        ('command = ["true", "hush "]', ""),
        ('command = "true --token hush"', ""),
        ("", 'deploy_hook = ["true", "hu\\nsh"]'),
        ("", 'deploy_hook = "true --token=hush"'),
        ("", 'basic_auth = "anna:hush"'),
        ("", 'request_headers = "Authorization: hush"'),
        ("", 'request_headers = {set = "Authorization: hush"}'),
        ("", 'request_headers = {set = {Authorization = "hush "}}'),
        ("", '[site.dns]\nprovider = "exec"\ncommand = "hook --token=hush"'),
        ("", '[site.dns]\nprovider = "exec"\ncommand = ["true", " hush"]'),
    ],
)
def test_secrets_are_not_repeated(tmp_path: Path, alarm: str, site: str) -> None:
    """Who knows a webhook's address can write there; tokens are among programs' arguments and header fields."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, alarm, site)
    assert not re.search("hu.?sh", str(caught.value))


def test_a_webhook_is_not_printed() -> None:
    """Not even where its configuration is."""
    assert "hooks.example.com" not in repr(Alarm("https://hooks.example.com/x"))
