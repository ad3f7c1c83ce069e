"""The renewal service is given other sites and other CAs while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from appliance.acme.renewal import RenewalService
from appliance.config import Site
from appliance.errors import OrderError, StoreError
from tests.support.renewalworld import HOUR, MINUTE, World, not_yet, raising, succeeded


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sites(*names: str) -> list[Site]:
    """Sites given as names joined by commas."""
    return [Site(tuple(each.split(",")), ()) for each in names]


def replace(service: RenewalService, wanted: Sequence[Site]) -> None:
    """As a reload does it."""

    async def replacing() -> None:
        await service.replace_sites(wanted, await service.look(wanted))

    succeeded(Deferred.fromCoroutine(replacing()))


def pending(world: World, name: str) -> list[Deferred[Any]]:
    """Have orders of a site hang; what they wait for, one after the other."""
    waiting: list[Deferred[Any]] = []

    def answer(names: Sequence[str]) -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    world.answers[name] = answer
    return waiting


def test_a_running_order_of_a_site_that_stays_goes_on(world: World) -> None:
    """Others come and go beside it; what it brings is served."""
    orders = pending(world, "a.test")
    service = world.start("a.test", "gone.test")
    replace(service, sites("new.test", "a.test"))
    assert set(world.served) == {"new.test"}
    assert len(orders) == 1
    orders[0].callback(world.certificate("a.test"))
    assert set(world.served) == {"new.test", "a.test"}
    assert [report.site for report in service.report()] == ["new.test", "a.test"]
    assert len(world.times("a.test")) == 1


def test_a_site_is_removed(world: World) -> None:
    """It is served no more, its order is given up, and there are no others; what is stored stays."""
    service = world.start("a.test", "b.test")
    orders = pending(world, "b.test")
    renewing = Deferred.fromCoroutine(service.renew("b.test", True))
    assert len(orders) == 1
    replace(service, sites("a.test"))
    assert set(world.served) == {"a.test"}
    succeeded(renewing)
    assert orders[0].called
    world.pass_time(200 * 24 * HOUR)
    assert len(world.times("b.test")) == 2
    assert world.stored("b.test")


def test_a_site_is_added_again(world: World) -> None:
    """With the certificate that is in the store, at once."""
    service = world.start("a.test", "b.test")
    replace(service, sites("a.test"))
    replace(service, sites("a.test", "b.test"))
    assert world.served["b.test"] == world.stored("b.test")
    assert len(world.times("b.test")) == 1


def test_names_change(world: World) -> None:
    """The old certificate is served for the names that it covers, until there is a new one."""
    service = world.start("a.test,old.test")
    first = world.served["a.test"]
    orders = pending(world, "a.test")
    replace(service, sites("a.test,new.test"))
    assert world.served == {"a.test": first}
    assert world.served_names["a.test"] == ("a.test",)
    orders[0].callback(world.certificate("a.test", "new.test"))
    assert world.served["a.test"] != first
    assert world.served_names["a.test"] == ("a.test", "new.test")


def test_a_name_moves_to_another_site(world: World) -> None:
    """It is served all the while."""
    service = world.start("a.test,moved.test", "b.test")
    orders = pending(world, "b.test")
    replace(service, sites("a.test", "b.test,moved.test"))
    assert ("moved.test",) in world.served_names.values()
    assert len(orders) == 1


def test_the_first_name_changes(world: World) -> None:
    """It is another site then, with the certificate of the one before."""
    service = world.start("a.test,b.test")
    before = world.served["a.test"]
    replace(service, sites("b.test,a.test"))
    assert world.served == {"b.test": before}
    assert len(world.orders) == 1


def test_settings_change(world: World) -> None:
    """An order under way is given up and gone on with under the new ones."""
    orders = pending(world, "a.test")
    service = world.start("a.test")
    replace(service, [evolve(site, profile="short") for site in sites("a.test")])
    world.pass_time(MINUTE)
    assert len(orders) == 2
    assert len(world.resumed) == 1
    assert world.requests[-1].profile == "short"


def test_before_the_store_could_be_read(world: World) -> None:
    """The sites that count are the last ones."""
    store, world.store = world.store, Broken()
    service = world.start("a.test")
    replace(service, sites("b.test"))
    service._env.store = store
    world.pass_time(MINUTE)
    assert set(world.served) == {"b.test"}


def test_while_the_store_is_being_read(world: World) -> None:
    """The sites that count are the last ones."""
    slow: Deferred[Any] = Deferred()
    world.store.certificates, read = lambda: slow, world.store.certificates
    service = world.start("a.test")
    replace(service, sites("b.test"))
    world.store.certificates = read
    slow.callback({})
    assert set(world.served) == {"b.test"}


def test_the_store_cannot_be_read(world: World) -> None:
    """Then nothing is to be replaced; where no site is new, nobody asks it."""
    service = world.start("a.test")
    service._env.store = Broken()
    failure = SynchronousTestCase().failureResultOf(Deferred.fromCoroutine(service.look(sites("a.test", "b.test"))))
    assert "cannot be read: gone" in str(failure.check(StoreError) and failure.value)
    assert succeeded(Deferred.fromCoroutine(service.look(sites("a.test")))) == ()


class Broken:
    """A store that cannot be read."""

    def as_dict(self) -> Deferred[Any]:
        """See ICertificateStore."""
        return fail(OSError("gone"))


def test_stopped_meanwhile(world: World) -> None:
    """Nothing is begun any more."""
    service = world.start("a.test")
    orders = pending(world, "a.test")
    Deferred.fromCoroutine(service.renew("a.test", True))
    hanging: Deferred[None] = Deferred()
    assert len(orders) == 1
    defer, service._env.defer = service._env.defer, lambda work: hanging
    replacing = Deferred.fromCoroutine(service.replace_sites(sites("b.test"), ()))
    not_yet(replacing)
    service.stopService()
    service._env.defer = defer
    hanging.callback(None)
    succeeded(replacing)
    assert "b.test" not in world.served


def test_other_authorities(world: World, tmp_path: Path) -> None:
    """What failed at the old one is tried again at once, at the new one."""
    world.answers["a.test"] = raising(OrderError("no"))
    service = world.start("a.test")
    assert not world.served
    other = World(tmp_path, name="other", clock=world.clock)
    service.replace_authorities([other], None, "p384", 4)
    world.pass_time(MINUTE, 1)
    assert set(world.served) == {"a.test"}
    assert other.requests[0].key_type == "p384"


def test_an_order_at_a_ca_that_is_gone(world: World, tmp_path: Path) -> None:
    """It ends as it was begun; when it fails, the new one is next."""
    orders = pending(world, "a.test")
    service = world.start("a.test")
    service.replace_authorities([other := World(tmp_path, name="other", clock=world.clock)], None, "p256", 8)
    orders[0].errback(OrderError("no"))
    world.pass_time(HOUR, 1)
    assert set(world.served) == {"a.test"}
    assert len(other.orders) == 1


def test_a_ca_that_goes_during_the_rehearsal(world: World, tmp_path: Path) -> None:
    """The order that it was for is not begun."""
    rehearsal = World(tmp_path, name="rehearsal", clock=world.clock)
    orders = pending(rehearsal, "a.test")
    service = world.start("a.test", rehearsal=rehearsal)
    service.replace_authorities([other := World(tmp_path, name="other", clock=world.clock)], None, "p256", 8)
    orders[0].callback(world.certificate("a.test"))
    world.pass_time(HOUR, 1)
    assert not world.orders
    assert len(other.orders) == 1
