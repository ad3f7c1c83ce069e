"""A service that is stopped, or a site that is replaced, while the disk is busy: whole files, and no order goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import formatEvent, globalLogPublisher

from appliance.acme.budget import LETS_ENCRYPT, order_uses
from appliance.acme.renewal import STOP_TIMEOUT, RenewalService
from appliance.acme.sitecertificates import WRITE_TIMEOUT
from appliance.acme.spending import Spending
from appliance.config import Site
from appliance.errors import ApplianceError, OrderError, Problem
from appliance.tls.certificate import Certificate
from tests.support.renewalworld import DAY, World, failure_of, not_yet, raising, succeeded
from tests.support.slowdisk import SlowDisk

CONNECTION = Problem("urn:ietf:params:acme:error:connection", "connection refused")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, limits=LETS_ENCRYPT)

    def observe(event: Any) -> None:
        world.log.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield world
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


def start(world: World, disk: SlowDisk, site: str = "a.example", **options: Any) -> RenewalService:
    """A service whose records, but not its certificates, are on ``disk``."""
    service = world.service(site, **options)
    service._env = evolve(service._env, defer=disk, spending=Spending(world.folder / "spending.json", disk, world.now))
    service.startService()
    return service


def certificates_counted(world: World) -> int:
    """How many certificates the ledger on disk has."""
    uses = json.loads((world.folder / "spending.json").read_bytes())["uses"]
    return sum(len(times) for key, times in uses.items() if " names " in key)


# Pieces of work of an order: two reads at the start, the first record; then, as one step, what is spent, the record
# before the CA is asked, and that with the order's URL.
READ, BEGUN, SPENT, ASKED = 2, 3, 4, 5


@pytest.mark.parametrize("pieces", [READ, BEGUN, SPENT, ASKED])
def test_stop_in_any_write(world: World, disk: SlowDisk, pieces: int) -> None:
    """The write ends first, then the attempt, with a record that says so; none overlaps another, and none fails."""
    service = start(world, disk)
    disk.work(pieces)
    assert len(disk.waiting) == 1
    stopping = service.stopService()
    not_yet(stopping)
    disk.work()
    succeeded(stopping)
    assert world.orders == [], "the CA was not asked to go on"
    state = world.state("a.example")
    assert (state.running, state.failures) == (False, 0)
    assert (state.unfinished is not None and state.unfinished.url is not None) == (pieces >= BEGUN)
    assert disk.most == 1
    assert world.clock.getDelayedCalls() == []
    assert not any("cannot be written down" in line for line in world.log)
    world.start("a.example")
    assert "a.example" in world.served
    assert len(world.resumed) == (pieces >= BEGUN)
    assert certificates_counted(world) == 1


def test_says_why_it_waits(world: World) -> None:
    """A new process with nothing to serve, that may not order yet, does not keep quiet about it."""
    world.answers["a.example"] = raising(OrderError("a.example: no"))
    succeeded(world.start("a.example").stopService())
    world.log.clear()
    world.start("a.example")
    (line,) = world.log
    assert line.startswith("a.example: cannot be reached over TLS until 2027-01-01 00:01:00 UTC at the earliest: there")
    assert "after 1 failure in a row not before then; to try now: appliance renew a.example" in line


def test_order_runs_out_of_time_in_a_write(world: World, disk: SlowDisk) -> None:
    """It ends there, with the write, and not some time later or never."""
    service = start(world, disk, order_timeout=60.0)
    disk.work(ASKED)
    world.clock.advance(61)
    assert len(disk.waiting) == 1
    disk.work()
    assert world.orders == []
    (report,) = service.report()
    assert "was not finished within 60 s" in report.state.problem
    assert disk.most == 1
    succeeded(service.stopService())


def test_stop_with_a_disk_that_hangs(world: World, disk: SlowDisk) -> None:
    """Is not waited for, and what comes after it is not done."""
    service = start(world, disk)
    disk.work(ASKED)
    stopping = service.stopService()
    world.clock.advance(STOP_TIMEOUT - 1)
    not_yet(stopping)
    world.clock.advance(1)
    succeeded(stopping)
    assert any("renewals did not stop within 10 s" in line for line in world.log)
    world.clock.advance(WRITE_TIMEOUT)
    assert world.orders == []


def test_ledger_is_written_by_one_at_a_time(world: World, disk: SlowDisk) -> None:
    """Whoever was cancelled leaves the next one waiting for what is being written."""
    spending = Spending(world.folder / "spending.json", disk, world.now)
    (first, second) = (order_uses(name, LETS_ENCRYPT) for name in ("one", "two"))
    gone = Deferred.fromCoroutine(spending.spend(first))
    stays = Deferred.fromCoroutine(spending.spend(second))
    gone.cancel()
    not_yet(gone)
    assert len(disk.waiting) == 1
    disk.work(1)
    assert isinstance(failure_of(gone), CancelledError)
    not_yet(stays)
    disk.work()
    succeeded(stays)
    assert disk.most == 1
    assert len(json.loads((world.folder / "spending.json").read_bytes())["uses"]) == 2


# What an interruption does to an order


def found_spoiled(world: World) -> Any:
    """The CA could not connect; but only orders that are gone on with are told."""

    def answer(names: Sequence[str]) -> Certificate:
        if world.resumed and len(world.orders) == 2:
            raise OrderError("a.example: connection: refused.", {"a.example": CONNECTION})
        return world.certificate(*names)

    return answer


def test_order_that_was_spoiled_meanwhile(world: World) -> None:
    """The CA looked while nobody answered: another order follows at once, counted, and says why."""
    world.answers["a.example"] = lambda names: Deferred()
    succeeded(world.start("a.example").stopService())
    world.answers["a.example"] = found_spoiled(world)
    world.start("a.example")
    assert world.times("a.example") == [0, 0, 0]
    assert "a.example" in world.served
    (line,) = (line for line in world.log if "no certificate for a.example" in line)
    assert "nobody answered the CA meanwhile.; tried again at once (1 in a row failed)" in line
    assert certificates_counted(world) == 1
    uses = json.loads((world.folder / "spending.json").read_bytes())["uses"]
    assert [len(times) for key, times in uses.items() if " failure " in key] == [1]


def test_every_name_is_asked_for_again(world: World) -> None:
    """What failed while nobody answered is no reason to leave a name out."""
    world.answers["a.example"] = lambda names: Deferred()
    succeeded(world.start("a.example,b.example").stopService())
    world.answers["a.example"] = found_spoiled(world)
    world.start("a.example,b.example")
    assert world.orders[-1] == (0, ("a.example", "b.example"))
    assert world.state("a.example").losses == ()


def test_not_at_once_after_a_crash(world: World) -> None:
    """Which counts as a failure: whatever is killed again and again makes no orders, for fewer names neither."""
    world.answers["a.example"] = lambda names: Deferred()
    world.start("a.example,b.example")
    world.answers["a.example"] = found_spoiled(world)
    world.start("a.example,b.example")
    assert len(world.orders) == 2
    assert len(world.resumed) == 1
    state = world.state("a.example")
    assert state.next_attempt is not None
    assert state.losses == ()


def test_replaced_while_it_goes_back(world: World) -> None:
    """A site that is no longer there is not served again by a command that was under way."""
    service = world.start("a.example", "b.example")
    world.pass_time(61 * DAY)
    real, gate = world.store.store, Deferred()
    world.store.store = lambda *args: gate.addCallback(lambda _: real(*args))
    going_back = Deferred.fromCoroutine(service.rollback("a.example"))
    succeeded(Deferred.fromCoroutine(service.replace_sites([Site(("b.example",), ())], ())))
    gate.callback(None)
    error = failure_of(going_back)
    assert isinstance(error, ApplianceError)
    assert "its configuration was replaced while its previous certificate was put back" in str(error)
    assert list(world.served) == ["b.example"]
