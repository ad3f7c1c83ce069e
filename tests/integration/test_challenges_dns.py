"""DNS-01 by real Pebble and real BIND: apex and wildcard at once, CNAME delegation, each way of publishing records."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.appliance import Appliance, serial_of
from tests.support.dnsserver import KEY_NAME, Bind
from tests.support.pdnsapi import PowerDnsApi
from tests.support.pebble import Pebble, running_pebble
from tests.support.processes import free_port, wait_for

CERTIFIED_WITHIN = 30.0
UPSTREAM = "http://127.0.0.1:9"
NAMES = ["one.test", "*.one.test"]


class Scene:
    """The appliance, a Pebble that nothing but DNS can convince, and what they share."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.appliance = Appliance(folder)
        self._stack = stack

    def bind(self, **zones: list[str]) -> Bind:
        """A BIND for these zones (underscores for dots)."""
        named = {zone.replace("_", "."): records for zone, records in zones.items()}
        return self._stack.enter_context(Bind(self.folder / "bind", named, follows=True))

    def pebble(self, bind: Bind | None = None) -> Pebble:
        """Asks that BIND, or else its own challtestsrv."""
        server = f"127.0.0.1:{bind.port}" if bind else None
        return self._stack.enter_context(running_pebble(free_port(), dns_server=server, authorization_reuse=0))

    def certified(
        self, pebble: Pebble, dns: str, *, port: int | None = None, site: str = 'challenge = "dns-01"'
    ) -> str:
        """Start with ``[acme.dns]`` like that, wait for a certificate of both names; what was logged."""
        server = f'"127.0.0.1:{port or pebble.dns_port}"'
        more = f"[acme.dns]\n{dns}\nresolvers = {server}\nnameservers = {server}\npropagation_timeout = 10\n"
        self.appliance.configure([(NAMES, UPSTREAM)], pebble.directory_url, pebble.ca_file, more)
        with self.appliance.config.open("a") as config:
            config.write(f"{site}\n")
        with self.appliance as running:
            for name in ("one.test", "any.one.test"):
                running.wait_for(
                    lambda name=name: serial_of(running, name, pebble.root()),  # type: ignore[misc]
                    CERTIFIED_WITHIN,
                    f"{name} certified",
                )
        output = running.output()
        assert "Traceback" not in output
        assert "not withdrawn" not in output
        return output


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


def rfc2136(bind: Bind) -> str:
    return f'provider = "rfc2136"\nserver = "127.0.0.1:{bind.port}"\nkey_name = "{KEY_NAME}"\nsecret = "{bind.secret}"'


def test_wildcard_and_apex_by_dynamic_update(scene: Scene) -> None:
    """Two values under one name in a real BIND, which Pebble asks; both are gone afterwards, each by itself."""
    bind = scene.bind(one_test=[])
    output = scene.certified(scene.pebble(bind), rfc2136(bind), port=bind.port)
    assert bind.texts("_acme-challenge.one.test") == set()
    assert bind.output().count("adding an RR at '_acme-challenge.one.test' TXT") == 2
    assert bind.output().count("deleting an RR at _acme-challenge.one.test TXT") == 2
    assert bind.secret not in output


def test_delegated_by_cname(scene: Scene) -> None:
    """The zone itself is left alone; the records go where the CNAME leads, over two of them."""
    bind = scene.bind(
        one_test=["@ NS ns1", "ns1 A {address}", "_acme-challenge CNAME one.alias.test."],
        alias_test=["@ NS ns1", "ns1 A {address}", "one CNAME one.acme.test."],
        acme_test=["@ NS ns1", "ns1 A {address}"],
    )
    scene.certified(scene.pebble(bind), rfc2136(bind), port=bind.port)
    assert bind.output().count("adding an RR at 'one.acme.test' TXT") == 2
    assert bind.texts("one.acme.test") == set()
    assert "updating zone 'one.test/IN'" not in bind.output()


def test_below_a_wildcard_cname(scene: Scene) -> None:
    """It leads visitors to a hoster, not the CA: the records go into the zone itself, which the server tells."""
    bind = scene.bind(
        one_test=["@ NS ns1", "ns1 A {address}", "* CNAME lb.hoster.test."],
        hoster_test=["@ NS ns1", "ns1 A {address}", "lb A {address}"],
    )
    scene.certified(scene.pebble(bind), rfc2136(bind), port=bind.port)
    assert bind.output().count("adding an RR at '_acme-challenge.one.test' TXT") == 2
    assert "updating zone 'hoster.test/IN'" not in bind.output()


def hook(folder: Path, management: str) -> Path:
    """A program that has challtestsrv answer, and notes what it was called with."""
    program = folder / "dns hook"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys, urllib.request\n"
        "action, domain, record, value = sys.argv[-4:]\n"
        "names = ('ACTION', 'DOMAIN', 'RECORD', 'VALUE')\n"
        "assert [os.environ['APPLIANCE_' + name] for name in names] == sys.argv[-4:]\n"
        f"open({str(folder / 'calls')!r}, 'a').write(' '.join(sys.argv[1:4]) + ' ' + record + chr(10))\n"
        "data = {'host': record + '.', 'value': value}\n"
        "path = '/set-txt' if action == 'present' else '/clear-txt'\n"
        f"urllib.request.urlopen({management!r} + path, json.dumps(data).encode(), timeout=10)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_wildcard_and_apex_by_a_hook(scene: Scene) -> None:
    """The operator's own program is run to present and to clean up, once for each value."""
    pebble = scene.pebble()
    program = hook(scene.folder, pebble.dns_management_url)
    scene.certified(pebble, f'provider = "exec"\ncommand = {json.dumps([str(program), "--zone"])}')
    calls = (scene.folder / "calls").read_text().splitlines()
    assert calls[:2] == ["--zone present one.test _acme-challenge.one.test"] * 2
    assert calls[2:] == ["--zone cleanup one.test _acme-challenge.one.test"] * 2


def test_only_the_wildcard_needs_dns(scene: Scene) -> None:
    """Without ``challenge``, the apex of the same site is proved by HTTP-01, the wildcard by the shared [acme.dns]."""
    pebble = scene._stack.enter_context(running_pebble(scene.appliance.http_port, authorization_reuse=0))
    program = hook(scene.folder, pebble.dns_management_url)
    scene.certified(pebble, f'provider = "exec"\ncommand = "{program}"', site="")
    assert len((scene.folder / "calls").read_text().splitlines()) == 2


def test_a_failing_hook_is_told_in_words(scene: Scene) -> None:
    """The site's own [site.dns] goes before [acme.dns]; what the program printed is in the log, and no traceback."""
    pebble = scene.pebble()
    program = scene.folder / "hook"
    program.write_text("#!/bin/sh\necho 'API says: no such zone' >&2\nexit 3\n")
    program.chmod(0o700)
    server = f'"127.0.0.1:{pebble.dns_port}"'
    scene.appliance.configure([(NAMES, UPSTREAM)], pebble.directory_url, pebble.ca_file)
    with scene.appliance.config.open("a") as config:
        config.write(f'[site.dns]\nprovider = "exec"\ncommand = "{program}"\nresolvers = {server}\n')
    with scene.appliance as running:
        wanted = f"the DNS hook {program} present for _acme-challenge.one.test failed: status 3: API says: no such zone"
        wait_for(lambda: wanted in running.output(), CERTIFIED_WITHIN, "the failure in the log")
    assert "Traceback" not in running.output()


def test_a_txacme_responder_of_somebody_else(scene: Scene) -> None:
    """By its dotted name, with options and the reactor; it sees the name that a CNAME leads to."""
    pebble = scene.pebble()
    pebble.dns("set-cname", host="_acme-challenge.one.test", target="one.acme.test")
    log = scene.folder / "calls"
    options = f'{{management = "{pebble.dns_management_url}", log = "{log}"}}'
    responder = "tests.support.thirdparty:TestServerResponder"
    scene.certified(pebble, f'provider = "responder"\nresponder = "{responder}"\noptions = {options}')
    assert (
        sorted(log.read_text().splitlines())
        == ["start one.test one.acme.test."] * 2 + ["stop one.test one.acme.test."] * 2
    )


def test_a_service_that_lexicon_knows(scene: Scene) -> None:
    """PowerDNS's API, which can only replace all values of a name at once, before BIND; the token is not logged."""
    bind = scene.bind(one_test=[])
    api = scene._stack.enter_context(PowerDnsApi("one.test", bind))
    options = f'{{auth_token = "{api.token}", pdns_server = "{api.url}", ttl = 60}}'
    dns = f'provider = "lexicon"\nname = "powerdns"\noptions = {options}'
    output = scene.certified(scene.pebble(bind), dns, port=bind.port)
    assert bind.texts("_acme-challenge.one.test") == set()
    assert api.token not in output
