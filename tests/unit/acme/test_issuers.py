"""Issuers and responders stay for as long as what is said about them does."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from appliance.acme.challenges import PendingChallenges
from appliance.acme.issuers import Authorities, Issuers
from appliance.clock import utc_now
from appliance.config import Acme, CertificateAuthority, Configuration, Route, Site
from appliance.config.dns import Dns, DnsHook
from appliance.errors import AcmeError
from tests.support.certificates import shared_authority
from tests.support.renewalworld import succeeded

SITE = Site(("a.test",), (Route("/", ()),))
DNS = Dns(DnsHook(("true",)))
CONFIGURATION = Configuration((SITE,), acme=Acme(agree_tos=True, dns=DNS))


class Made:
    """Issuers with challenges of ours."""

    def __init__(self, folder: Path) -> None:
        self.own = PendingChallenges()
        self.issuers = Issuers(Clock(), folder, [self.own], utc_now, maybeDeferred)
        self.issuers.startService()

    def apply(self, configuration: Configuration) -> Authorities:
        """Have those of a configuration."""
        authorities = self.issuers.prepare(configuration)
        self.issuers.apply(authorities)
        return authorities


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_the_same_again(made: Made) -> None:
    """Nothing is made anew, and no account is looked for again."""
    before = made.apply(CONFIGURATION)
    again = made.apply(Configuration((SITE,), acme=Acme(agree_tos=True, dns=Dns(DnsHook(("true",))))))
    assert again.issuers == before.issuers == made.issuers.current
    responders = made.issuers._responders.for_name("a.test")
    assert responders == before.responders.for_name("a.test")
    assert list(responders) == ["http-01", "dns-01"]
    succeeded(made.issuers.stopService())


def test_others(made: Made) -> None:
    """What is said of one CA does not matter to the others."""
    one, two = CertificateAuthority("https://one.test/", name="one"), CertificateAuthority("https://two.test/")
    acme = Acme(agree_tos=True, issuer=(one, two), rehearsal="https://staging.test/")
    before = made.apply(evolve(CONFIGURATION, acme=acme))
    after = made.apply(evolve(CONFIGURATION, acme=evolve(acme, issuer=(two, evolve(one, email="a@b.test")))))
    assert after.issuers[0] is before.issuers[1]
    assert after.issuers[1] is not before.issuers[0]
    assert after.rehearsal is before.rehearsal is not None


def test_a_site_of_its_own_kind(made: Made) -> None:
    """Responders of sites are replaced for issuers that stay, too; those with the same settings are one."""
    site = evolve(SITE, challenge="dns-01", dns=DNS)
    before = made.apply(evolve(CONFIGURATION, sites=(site, evolve(site, names=("b.test",)))))
    after = made.apply(evolve(CONFIGURATION, sites=(evolve(site, dns=Dns(DnsHook(("false",)))),)))
    assert len(before.published) == 1
    assert len(after.published) == 2
    assert made.issuers._responders.for_name("a.test") != before.responders.for_name("a.test")


def test_trusted_certificates(made: Made, tmp_path: Path) -> None:
    """Are read again: others under the same name make another issuer; a file that is gone changes nothing."""
    file = tmp_path / "ca.pem"
    file.write_bytes(shared_authority().pem)
    configuration = evolve(CONFIGURATION, acme=evolve(CONFIGURATION.acme, ca_file=file))
    before = made.apply(configuration)
    assert made.apply(configuration).issuers == before.issuers
    file.write_bytes(shared_authority().pem + b"\n")
    after = made.apply(configuration)
    assert after.issuers != before.issuers
    file.unlink()
    with pytest.raises(AcmeError, match=r"ca\.pem cannot be read: No such file"):
        made.issuers.prepare(configuration)
    assert made.issuers.current == after.issuers
