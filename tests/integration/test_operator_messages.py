"""A dozen failures, read as an operator does: each names the site, the name, the step, the CA's words, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.appliance import Appliance
from tests.support.operator import run, site
from tests.support.pebble import running_pebble
from tests.support.processes import free_port

NOBODY = "http://127.0.0.1:9"
EXTERNAL = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    made = Appliance(tmp_path)
    yield made
    made.stop()


def problem(appliance: Appliance, name: str) -> str:
    """What status tells of a site's failure, once there is one; the log has the same."""
    found: str = appliance.wait_for(
        lambda: (site(appliance, name)["problem"] or {}).get("message"), 30, f"a problem of {name}"
    )
    assert any(f"{name}: " in line and found in line for line in appliance.output().splitlines())
    return found


def test_what_dns_ports_and_refusals_look_like(appliance: Appliance) -> None:
    """Six sites that fail for reasons of their own, on one appliance."""
    with running_pebble(appliance.http_port, tls_port=appliance.https_port, blocklist=["blocked.test"]) as pebble:
        pebble.dns("add-a", host="elsewhere.test", addresses=["127.0.0.2"])
        pebble.dns("add-aaaa", host="six.test", addresses=["::1"])
        pebble.dns("set-servfail", host="servfail.test")
        names = ("blocked.test", "elsewhere.test", "six.test", "servfail.test", "mixed.test")
        sites = [([name], NOBODY) for name in names[:-1]]
        sites.append((["mixed.test", "www.blocked.test"], NOBODY))
        appliance.configure(sites, pebble.directory_url, pebble.ca_file).start()
        told = {name: problem(appliance, name) for name in names[:-1]}
        lost = appliance.wait_for(
            lambda: (site(appliance, "mixed.test")["problem"] or {}).get("names"), 30, "a lost name"
        )
        status = run("status", "--config", appliance.config).stdout
        assert "Traceback" not in appliance.output()
    for name, ca, advice in (
        ("blocked.test", "forbidden by policy", "take it out of the site's names"),
        ("elsewhere.test", "connection refused", "A and AAAA records of elsewhere.test"),
        ("six.test", "connection refused", "A and AAAA records of six.test"),
        ("servfail.test", "servfail.test", "servfail.test"),
    ):
        message = told[name]
        assert name in message
        assert ca in message, message
        assert advice in message, message
        assert name in status
    assert lost[0]["name"] == "www.blocked.test"
    assert "forbidden by policy" in lost[0]["detail"]
    assert "take it out of the site's names" in lost[0]["advice"]


@pytest.mark.parametrize(
    ("directory", "words", "advice"),
    [
        ("https://127.0.0.1:{port}/dir", "directory: https://127.0.0.1:{port}/dir", "nothing listens there"),
        ("https://nowhere.invalid/dir", "directory: https://nowhere.invalid/dir", "look at this machine's DNS"),
        ("{pebble}", "directory: {pebble}", "acme.ca_file must hold the root"),
        ("{pebble}/nothing-here", "directory", "404"),
    ],
)
def test_what_a_ca_that_cannot_be_used_looks_like(
    appliance: Appliance, directory: str, words: str, advice: str
) -> None:
    """Not there, no such name, not trusted, not a directory."""
    with running_pebble(appliance.http_port) as pebble:
        places = {"port": str(free_port()), "pebble": pebble.directory_url}
        trust = pebble.ca_file if "nothing" in directory else None
        appliance.configure([(["one.test"], NOBODY)], directory.format(**places), trust).start()
        message = problem(appliance, "one.test")
        assert words.format(**places) in message
        assert advice in message


def test_what_a_ca_that_wants_more_looks_like(appliance: Appliance) -> None:
    """External account binding that is not there: the step, and where to put what the CA hands out."""
    with running_pebble(appliance.http_port, external_accounts=EXTERNAL) as pebble:
        appliance.configure([(["one.test"], NOBODY)], pebble.directory_url, pebble.ca_file).start()
        message = problem(appliance, "one.test")
        assert "register the account" in message
        assert "acme.external_account" in message


def test_what_the_commands_say_of_mistakes(appliance: Appliance, tmp_path: Path) -> None:
    """Of names, folders, configurations and groups that are not there; never a traceback."""
    appliance.configure([(["one.test"], NOBODY)], f"https://127.0.0.1:{free_port()}/dir").start()
    config = ["--config", str(appliance.config)]
    for arguments, status, words in (
        (["status", "nix.test", *config], 1, "nix.test is no site here; the sites are one.test"),
        (["renew", "nix.test", *config], 1, "nix.test is no site of this appliance; its sites are one.test"),
        (["rollback", "one.test", *config], 1, "one.test: there is no previous certificate to go back to"),
        (["rehearse", "one.test", "--only-staging", *config], 1, "name one as acme.rehearsal"),
        (["revoke", "one.test", *config], 1, "one.test: serves no certificate that could be revoked"),
        (["account", "--rollover", "nix", *config], 1, "nix is no CA of this configuration"),
        (["export", "one.test", "--to", str(tmp_path / "x"), *config], 1, "no valid certificate for one.test is kept"),
        (["forget", "one.test", *config], 1, "take its [[site]] out first"),
        (["forget", "../x", *config], 1, "not a host name"),
        (["import-certbot", str(tmp_path), *config], 1, "is not certbot's"),
        (["status", "--config", str(tmp_path / "none.toml")], 2, "cannot be read: No such file or directory"),
        (["doctor", "one.test", "--resolver", "nine.nine", *config], 2, "--resolver"),
    ):
        done = run(*arguments)
        assert done.returncode == status, (arguments, done)
        assert words in done.stdout + done.stderr, (arguments, done)
        assert "Traceback" not in done.stderr
