"""Certificates from the demo CA, without sockets: keys, profiles, orders gone on with, renewal information."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from appliance.acme import keys
from appliance.acme.ari import certificate_id
from appliance.acme.challenges import PendingChallenges
from appliance.acme.issuer import Issuer
from appliance.acme.request import CertificateRequest, Unfinished
from appliance.ca.memory import MemoryAgent
from appliance.ca.policy import Policy, Profile, Window
from appliance.ca.server import EmbeddedCa, Outage
from appliance.config import Acme
from appliance.errors import AcmeConnectionError, AcmeError, AcmeProblemError, AcmeProtocolError
from tests.support.certificates import make_certificate
from tests.support.demo_ca import AUTHORITY, START
from tests.support.renewalworld import at_once

HOUR = timedelta(hours=1)
ONE = CertificateRequest(("one.test",))


class Shop:
    """A CA, and an issuer that goes there."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = Clock()
        self.folder = folder
        self.ca = EmbeddedCa(
            self.clock, self.now, {"http-01": lambda *_: succeed(None)}, Policy(), AUTHORITY, random=Random(1)
        )
        self.remembered: list[Unfinished] = []
        self.issuer = self.another(**settings)

    def another(self, **settings: Any) -> Issuer:
        """An issuer of the same account, as after a restart."""
        acme = Acme(f"{self.ca.base_url}/directory", agree_tos=True, name="shop", **settings)
        return Issuer(
            self.clock, MemoryAgent(self.ca), acme, self.folder, [PendingChallenges()], now=self.now, defer=at_once
        )

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def change(self, **changes: Any) -> None:
        """Another policy."""
        self.ca.policy = evolve(self.ca.policy, **changes)

    async def remember(self, unfinished: Unfinished) -> None:
        self.remembered.append(unfinished)

    def wait(self, work: Any, until: Callable[[], bool] = lambda: False) -> Any:
        """What a coroutine comes to; or None once ``until`` holds, which cancels it. Raises what it fails with."""
        results: list[Any] = []
        deferred = Deferred.fromCoroutine(work).addBoth(results.append)
        for _ in range(4000):
            if until():
                deferred.cancel()
                return None
            if results:
                break
            self.clock.advance(0.25)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def obtain(self, request: CertificateRequest = ONE, unfinished: Unfinished | None = None) -> Any:
        return self.wait(self.issuer.obtain(request, unfinished, self.remember))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_remembers_the_order(shop: Shop) -> None:
    """Before the CA is asked, and with the URL once it has answered; with the key that the certificate will have."""
    certificate = shop.obtain()
    first, second = shop.remembered
    assert (first.url, first.authority, first.names, first.began) == (None, "shop", ("one.test",), START)
    assert second == evolve(first, url=second.url)
    assert second.url is not None
    key = keys.from_pem(second.key.encode())
    assert key.private_numbers() == certificate.key.private_numbers()


@pytest.mark.parametrize("seconds", [0.1, 1, 3, 8, 15])
def test_goes_on(shop: Shop, seconds: float) -> None:
    """Interrupted at any moment, the same order brings a certificate for the same key; there is no other order."""
    shop.change(validation_delay=5.0, issuance_delay=5.0)
    shop.wait(shop.issuer.obtain(ONE, None, shop.remember), until=lambda: shop.clock.seconds() >= seconds)
    order = shop.remembered[-1]
    assert order.url is not None
    shop.issuer = shop.another()
    certificate = shop.obtain(unfinished=order)
    certificate.check(["one.test"], shop.now())
    assert certificate.key.private_numbers() == keys.from_pem(order.key.encode()).private_numbers()
    assert shop.ca.counts["new_order"] == 1
    assert len(shop.remembered) == 2


def test_order_that_is_gone(shop: Shop) -> None:
    """The CA no longer has it: a new one, with a key of its own."""
    shop.obtain()
    order = evolve(shop.remembered[-1], url=f"{shop.ca.base_url}/order/99")
    certificate = shop.obtain(unfinished=order)
    assert certificate.key.private_numbers() != keys.from_pem(order.key.encode()).private_numbers()
    assert shop.ca.counts["new_order"] == 2


def test_key_that_cannot_be_read(shop: Shop) -> None:
    """As if there were no order."""
    shop.obtain()
    shop.obtain(unfinished=evolve(shop.remembered[-1], key="nonsense"))
    assert shop.ca.counts["new_order"] == 2


def test_order_while_the_ca_is_in_trouble(shop: Shop) -> None:
    """What the CA does not deny is not given up for its troubles."""
    shop.obtain()
    shop.ca.outage = Outage.ERROR
    with pytest.raises(AcmeProblemError, match="serverInternal"):
        shop.obtain(unfinished=shop.remembered[-1])
    shop.ca.outage = Outage.DROP
    with pytest.raises(AcmeConnectionError):
        shop.obtain(unfinished=shop.remembered[-1])
    assert shop.ca.counts["new_order"] == 1


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_kinds_of_keys(shop: Shop, kind: str) -> None:
    """As asked for; and IP addresses beside names."""
    certificate = shop.obtain(CertificateRequest(("one.test", "127.0.0.1", "::1"), kind))
    assert certificate.names == {"one.test", "127.0.0.1", "::1"}
    assert certificate.key.key_size == int(kind.lstrip("prsa"))


def test_profiles(tmp_path: Path) -> None:
    """The site's own goes before the CA's; one that the CA has not is an error, unless it has none at all."""
    shop = Shop(tmp_path, profile="week")
    assert shop.obtain().not_after - START == timedelta(days=90), "a CA without profiles"
    shop.change(profiles={"week": Profile(7 * 24 * HOUR), "hour": Profile(HOUR)})
    shop.issuer = shop.another(profile="week")
    assert shop.obtain().not_after - shop.now() <= 7 * 24 * HOUR
    assert shop.obtain(evolve(ONE, profile="hour")).not_after - shop.now() <= HOUR
    with pytest.raises(AcmeError, match="has no profile"):
        shop.obtain(evolve(ONE, profile="day"))


def test_renewal_information(shop: Shop) -> None:
    """What the CA suggests, and when to ask again; nothing for others' certificates, or from a CA without."""
    certificate = shop.obtain()
    info, retry_after = shop.wait(shop.issuer.renewal_info(certificate))
    assert certificate.not_before < info.start < info.end < certificate.not_after
    assert retry_after == 21600.0
    assert shop.wait(shop.issuer.renewal_info(make_certificate(["one.test"]))) is None
    shop.change(renewal_window=None)
    assert shop.wait(shop.issuer.renewal_info(certificate)) is None
    assert shop.wait(shop.another().renewal_info(certificate)) is None


def test_renewal_information_fails(shop: Shop) -> None:
    """A CA that stumbles, or says nonsense, is an error."""
    certificate = shop.obtain()
    shop.change(renewal_window=lambda issued, now: Window(now, START))
    shop.clock.advance(60)
    with pytest.raises(AcmeProtocolError, match="ends before it starts"):
        shop.wait(shop.issuer.renewal_info(certificate))
    shop.ca.outage = Outage.ERROR
    with pytest.raises(AcmeProblemError):
        shop.wait(shop.issuer.renewal_info(certificate))


def test_which_ca(shop: Shop) -> None:
    """What the configuration calls it, and the host of its directory."""
    assert (shop.issuer.name, shop.issuer.host) == ("shop", urlsplit(shop.ca.base_url).hostname)


def test_replacing(shop: Shop) -> None:
    """The order names what it replaces; a second one that does is refused, in words that renewal understands."""
    first = shop.obtain()
    replacing = evolve(ONE, replaces=certificate_id(first.leaf))
    shop.obtain(replacing)
    with pytest.raises(AcmeProblemError, match="alreadyReplaced"):
        shop.obtain(replacing)
    shop.change(renewal_window=None)
    shop.issuer = shop.another()
    shop.obtain(replacing)


def test_replacing_what_another_account_ordered(shop: Shop, tmp_path: Path) -> None:
    """As after the account's key was lost: the refusal is about the order, not about its names."""
    replacing = evolve(ONE, replaces=certificate_id(shop.obtain().leaf))
    shop.folder = tmp_path / "anew"
    shop.issuer = shop.another()
    with pytest.raises(AcmeProblemError, match=r"^new order for one\.test: the CA answered unauthorized: replaces"):
        shop.obtain(replacing)


def common_name(certificate: x509.Certificate) -> str:
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


@pytest.mark.parametrize("root", [AUTHORITY.root, AUTHORITY.other_root])
def test_chains(shop: Shop, root: x509.Certificate) -> None:
    """Each of the demo CA's two chains, by its root's name."""
    shop.issuer = shop.another(preferred_chain=common_name(root))
    assert shop.obtain().intermediates[-1].issuer == root.subject


def test_chain_that_does_not_exist(shop: Shop) -> None:
    """The CA's first one is better than none."""
    shop.issuer = shop.another(preferred_chain="Nobody's Root")
    assert shop.obtain().intermediates[-1].issuer == AUTHORITY.root.subject
