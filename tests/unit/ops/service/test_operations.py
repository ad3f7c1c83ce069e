"""What the commands do in the running service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from appliance.acme.challenges import PendingChallenges
from appliance.acme.issuer import Issuer
from appliance.acme.state import RenewalState
from appliance.ca.memory import MemoryAgent
from appliance.ca.server import EmbeddedCa
from appliance.ca.validation import TableValidator
from appliance.config import Acme, CertificateAuthority, Configuration, Route, Site
from appliance.errors import ApplianceError
from appliance.ops.control.server import BadRequestError
from appliance.ops.diagnosis import probe
from appliance.ops.diagnosis.probe import Probes
from appliance.ops.service.authorities import AuthorityOperations
from appliance.ops.service.operations import Operations
from appliance.ops.service.rehearsal import Rehearsal
from appliance.ops.status.document import Extra
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate
from tests.support.reports import NOW, MadeReport

SITE = Site(("one.test", "www.one.test"), (Route("/", ()),))


def in_place(work: Callable[[], Any]) -> Deferred[Any]:
    return execute(work)


def result(work: Any, clock: Clock | None = None) -> Any:
    """What an answer comes to."""
    if not hasattr(work, "send"):
        return work
    results: list[Any] = []
    Deferred.fromCoroutine(work).addCallbacks(results.append, lambda failure: failure.raiseException()).addErrback(
        lambda failure: results.append(failure.value)
    )
    for _ in range(100):
        if not results and clock is not None:
            clock.advance(1)
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


class Renewals:
    """A renewal service of one site."""

    def __init__(self) -> None:
        self.current = MadeReport(serving=make_certificate(["one.test"]))
        self.called: list[Any] = []
        self.next: Callable[[], Any] = lambda: make_certificate(["one.test"])

    def report(self) -> list[MadeReport]:
        return [self.current]

    def reports(self) -> Iterator[MadeReport]:
        return iter(self.report())

    async def renew(self, site: str, force: bool = False) -> MadeReport:
        self.called.append((site, force))
        certificate = self.next()
        if isinstance(certificate, Deferred):
            certificate = await certificate
        if certificate is None:
            self.current = evolve(self.current, state=RenewalState(problem="the CA said no"))
        else:
            self.current = evolve(self.current, serving=certificate)
        return self.current

    async def rollback(self, site: str) -> MadeReport:
        raise ApplianceError("there is no previous one")


def operations(renewals: Renewals, clock: Clock) -> tuple[Operations, PendingChallenges]:
    challenges = PendingChallenges()
    made = Operations(renewals, lambda: NOW, Path("/s"), lambda _: Extra(alarm="look"), Probes(clock, challenges))
    return made, challenges


def test_status_renew_and_rollback() -> None:
    """By any name of the site; unknown ones are told what there is."""
    renewals = Renewals()
    commands = operations(renewals, Clock())[0].commands()
    status = result(commands["status"].call({}))
    assert (status["running"], status["state_dir"], status["sites"][0]["alarm"]) == (True, "/s", "look")
    answer = result(commands["renew"].call({"site": "www.one.test", "force": True}))
    assert answer["site"]["certificate"]["serial"] == f"{renewals.current.serving.serial:x}"  # type: ignore[union-attr]
    assert renewals.called == [("one.test", True)]
    with pytest.raises(ApplianceError, match="no previous one"):
        result(commands["rollback"].call({"site": "one.test"}))
    with pytest.raises(ApplianceError, match=r"its sites are one\.test"):
        result(commands["renew"].call({"site": "two.test"}))
    with pytest.raises(BadRequestError):
        result(commands["renew"].call({}))
    renewals.report = list  # type: ignore[method-assign, assignment]
    with pytest.raises(ApplianceError, match="still being read"):
        result(commands["renew"].call({"site": "one.test"}))


def test_probes_are_answered_for_a_minute_and_bounded() -> None:
    """Each with a token of its own."""
    clock = Clock()
    made, challenges = operations(Renewals(), clock)
    first = result(made.commands()["probe"].call({}))
    assert challenges.answer(first["path"].encode()) == first["answer"].encode()
    for _ in range(probe.AT_ONCE - 1):
        made.commands()["probe"].call({})
    with pytest.raises(ApplianceError, match="try again in a minute"):
        made.commands()["probe"].call({})
    clock.advance(probe.LIFETIME)
    assert len(challenges) == 0
    assert clock.getDelayedCalls() == []


class World:
    """The embedded CA, an issuer there, and a site with a certificate from it."""

    def __init__(self, folder: Path, **acme: Any) -> None:
        self.clock = Clock()
        self.folder = folder
        self.challenges = PendingChallenges()
        self.ca = EmbeddedCa(self.clock, lambda: NOW, {"http-01": TableValidator(self.challenges.answer)})
        settings = Acme(directory=self.ca.directory_url, agree_tos=True, **acme)
        self.configuration = Configuration((SITE,), state_dir=folder, acme=settings)
        self.issuer = self.make_issuer(settings)
        self.renewals = Renewals()
        self.renewals.current = evolve(self.renewals.current, serving=self.issue())
        self.renewals.next = lambda: Deferred.fromCoroutine(self.issuer.issue(SITE.names))
        rehearsal = Rehearsal(
            self.clock, lambda: self.configuration, lambda: NOW, self.challenges, in_place, self.make_issuer, list
        )
        made = AuthorityOperations(
            lambda: self.configuration, self.renewals, lambda: [self.issuer], rehearsal, in_place
        )
        self.commands = made.commands()

    def make_issuer(self, authority: CertificateAuthority) -> Issuer:
        agent = MemoryAgent(self.ca)
        return Issuer(self.clock, agent, authority, self.folder, [self.challenges], now=lambda: NOW, defer=in_place)

    def issue(self) -> Certificate:
        certificate: Certificate = result(self.issuer.issue(SITE.names), self.clock)
        return certificate

    def call(self, command: str, **arguments: object) -> Any:
        return result(self.commands[command].call(arguments), self.clock)


def test_revocation_puts_a_new_certificate_in_place_first(tmp_path: Path) -> None:
    """And nobody rolls back to the old one."""
    world = World(tmp_path)
    previous = tmp_path / "certificates" / "one.test.pem.previous"
    previous.parent.mkdir(parents=True)
    previous.write_text("")
    old = world.renewals.current.serving
    assert old is not None
    answer = world.call("revoke", site="www.one.test", reason="superseded")
    assert answer["revoked"] == f"{old.serial:x}"
    assert answer["serves"] != answer["revoked"]
    assert not previous.exists()
    with pytest.raises(BadRequestError, match="keyCompromise"):
        world.call("revoke", site="one.test", reason="boredom")
    with pytest.raises(ApplianceError, match=r"two\.test is no name of a configured site"):
        world.call("revoke", site="two.test")


def test_without_a_new_one_the_old_one_is_not_revoked_unless_at_once(tmp_path: Path) -> None:
    """A site that is down helps nobody, but for a stolen key."""
    world = World(tmp_path)
    world.renewals.next = lambda: None
    with pytest.raises(ApplianceError, match=r"was not revoked \(--now does it\).*the CA said no"):
        world.call("revoke", site="one.test")
    with pytest.raises(ApplianceError, match="was revoked, and is still served"):
        world.call("revoke", site="one.test", now=True)
    world.renewals.current = evolve(world.renewals.current, serving=make_certificate(["one.test"]))
    with pytest.raises(ApplianceError, match="no CA has revoked"):
        world.call("revoke", site="one.test", now=True)
    world.renewals.current = evolve(world.renewals.current, serving=None)
    with pytest.raises(ApplianceError, match="serves no certificate"):
        world.call("revoke", site="one.test")


def test_accounts_and_their_keys(tmp_path: Path) -> None:
    """What is remembered of them; a new key for the one that is named."""
    world = World(tmp_path)
    (account,) = world.call("accounts")["accounts"]
    assert account["registered"]
    assert "/account/1" in account["details"]
    key = Path(account["file"]).read_bytes()
    assert world.call("rollover")["ca"] == world.issuer.name
    assert Path(account["file"]).read_bytes() != key
    assert world.issue().covers("one.test")
    with pytest.raises(ApplianceError, match="nix is no CA of this configuration"):
        world.call("rollover", ca="nix")


def test_a_rehearsal_at_a_staging_directory(tmp_path: Path) -> None:
    """The one that is configured; without any it says so; nothing is put into service."""
    world = World(tmp_path, rehearsal="http://demo-ca.internal/directory")
    answer = world.call("rehearse", site="one.test", only_staging=True)
    assert answer["here"] is None
    assert answer["staging"]["names"] == ["one.test", "www.one.test"]
    assert world.renewals.called == []
    with pytest.raises(ApplianceError, match=r"name one as acme\.rehearsal"):
        World(tmp_path / "other").call("rehearse", site="one.test", only_staging=True)


def test_a_rehearsal_needs_a_listener_and_names_without_stars(tmp_path: Path) -> None:
    """What cannot be rehearsed here is told."""
    world = World(tmp_path)
    with pytest.raises(ApplianceError, match="no HTTP listener"):
        world.call("rehearse", site="one.test")
    object.__setattr__(world.configuration, "sites", (Site(("*.one.test",), ()),))
    with pytest.raises(ApplianceError, match="only --staging can rehearse"):
        world.call("rehearse", site="*.one.test")
