"""Revocation and new account keys, at the embedded CA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from appliance.acme.account import Account, AccountFiles, open_account
from appliance.acme.accountops import revoke, roll_over
from appliance.acme.challenges import PendingChallenges
from appliance.acme.client import AcmeClient
from appliance.acme.issuer import Issuer
from appliance.acme.jose import AccountKey
from appliance.ca.memory import MemoryAgent
from appliance.ca.server import EmbeddedCa, Outage
from appliance.ca.validation import TableValidator
from appliance.config import Acme
from appliance.errors import AcmeConnectionError, AcmeError, AcmeProblemError
from tests.support.certificates import make_certificate
from tests.support.reports import NOW


def in_place(work: Callable[[], Any]) -> Deferred[Any]:
    return execute(work)


class World:
    """A CA in memory, and our account there."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        challenges = PendingChallenges()
        self.ca = EmbeddedCa(self.clock, lambda: NOW, {"http-01": TableValidator(challenges.answer)})
        self.agent = MemoryAgent(self.ca)
        self.acme = Acme(directory=self.ca.directory_url, agree_tos=True)
        self.folder = folder
        self.files = AccountFiles.of(folder, self.ca.directory_url)
        self.issuer = Issuer(self.clock, self.agent, self.acme, folder, [challenges], now=lambda: NOW, defer=in_place)

    def run(self, work: Any) -> Any:
        """What a coroutine comes to, its time passed."""
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        for _ in range(100):
            if results:
                break
            self.clock.advance(1)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def account(self) -> Account:
        return self.run(self.issuer.account())  # type: ignore[no-any-return]

    def reopened(self) -> Account:
        """As a restart finds it."""
        client = AcmeClient(self.clock, self.agent, self.acme.directory, lambda: NOW)
        return self.run(open_account(client, self.acme, self.folder, lambda: NOW, in_place))  # type: ignore[no-any-return]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_certificate_is_revoked_by_its_own_key(world: World) -> None:
    """Without any account; a second time is no error."""
    certificate = world.run(world.issuer.issue(["one.test"]))
    stranger = AcmeClient(world.clock, world.agent, world.acme.directory, lambda: NOW)
    world.run(revoke(stranger, certificate, "superseded"))
    world.run(revoke(stranger, certificate, "superseded"))


def test_somebody_elses_certificate_is_not_revoked(world: World) -> None:
    """The CA says that it is none of its own."""
    with pytest.raises(AcmeProblemError, match=r"revoke the certificate .*: the CA answered malformed"):
        world.run(revoke(world.issuer.client, make_certificate(["one.test"]), "unspecified"))


def test_an_account_gets_a_new_key(world: World) -> None:
    """The CA knows the new one and no longer the old one; so do our files, and a restart."""
    before = world.account()
    after = world.run(roll_over(before, world.files, in_place))
    assert after.url == before.url
    assert after.key.thumbprint != before.key.thumbprint
    world.issuer.adopt(after)
    assert world.run(world.issuer.issue(["one.test"])).covers("one.test")
    assert world.reopened().key.thumbprint == after.key.thumbprint
    with pytest.raises(AcmeProblemError):
        world.run(before.post(before.url, {}, "be who I was"))
    assert sorted(path.name for path in world.files.folder.iterdir()) == ["account.json", "key.pem", "key.pem.previous"]
    assert (
        AccountKey.from_pem((world.files.folder / "key.pem.previous").read_bytes()).thumbprint == before.key.thumbprint
    )


def test_an_answer_that_is_lost_is_asked_for(world: World) -> None:
    """The CA took the new key and the connection broke: our files follow it."""
    before = world.account()
    real = before.client

    class Breaking:
        directory_url = real.directory_url
        lost = False

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def post(self, url: str, payload: object, **more: Any) -> Any:
            answer = await real.post(url, payload, **more)
            if not self.lost:
                self.lost = True
                raise AcmeConnectionError("it closed the connection")
            return answer

    account = Account(Breaking(), before.key, before.url)  # type: ignore[arg-type]
    after = world.run(roll_over(account, world.files, in_place))
    assert world.reopened().key.thumbprint == after.key.thumbprint != before.key.thumbprint


def test_while_the_ca_is_away_nothing_is_lost(world: World) -> None:
    """The new key is kept, it is said that this is to be run again, and that then works with the same key."""
    before = world.account()
    world.run(world.issuer.client.directory())
    world.ca.outage = Outage.DROP
    with pytest.raises(AcmeConnectionError, match="run this again"):
        world.run(roll_over(before, world.files, in_place))
    begun = (world.files.folder / "key.pem.next").read_bytes()
    world.ca.outage = Outage.NONE
    after = world.run(roll_over(before, world.files, in_place))
    assert after.key.thumbprint == AccountKey.from_pem(begun).thumbprint


def test_a_ca_without_these_services(world: World) -> None:
    """Says so."""
    account = world.account()
    directory = world.run(world.issuer.client.directory())
    world.issuer.client._directory = evolve(directory, revoke_certificate=None, key_change=None)
    with pytest.raises(AcmeError, match="offers no change of keys"):
        world.run(roll_over(account, world.files, in_place))
    with pytest.raises(AcmeError, match="offers no revocation"):
        world.run(revoke(world.issuer.client, make_certificate(["one.test"]), "unspecified"))
