"""The renewal service against a CA that does what a test wants, in a time that a test makes pass."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pem
import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.filepath import FilePath
from txacme.interfaces import ICertificateStore
from txacme.store import DirectoryStore
from zope.interface import implementer

from appliance.acme.decision import Step
from appliance.acme.state import RenewalState, StateFolder
from appliance.errors import (
    AcmeConnectionError,
    AcmeProblemError,
    CertificateError,
    OrderError,
    StoreError,
)
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate
from tests.support.renewalworld import (
    DAY,
    HOUR,
    MINUTE,
    World,
    not_yet,
    only,
    problem,
    raising,
    succeeded,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)

    def observe(event: Any) -> None:
        world.log.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield world
    globalLogPublisher.removeObserver(observe)


# Starting


def test_missing_ones_are_issued(world: World) -> None:
    """Every site without a certificate gets one, checked, stored, in service, with all its names in one order."""
    service = world.start("a.example,www.a.example", "b.example")
    assert {names for _, names in world.orders} == {("a.example", "www.a.example"), ("b.example",)}
    for name in ("a.example", "b.example"):
        assert world.stored(name).leaf == world.served[name].leaf
        assert world.state(name).failures == 0
    assert all(report.saved and report.next_step.step is Step.WAIT for report in service.report())
    assert any("a.example: serves certificate" in line for line in world.log)


def test_stored_ones_are_served_whatever_the_ca_does(world: World) -> None:
    """With a CA that hangs, the stored certificate, due as it is, is in service as soon as the store is loaded."""
    stored = world.put("a.example", world.certificate("a.example", begun=80 * DAY))
    world.answers["a.example"] = lambda names: Deferred()
    service = world.start("a.example")
    succeeded(service.when_loaded())
    assert world.served["a.example"].leaf == stored.leaf
    assert len(world.orders) == 1


def test_stored_under_another_name(world: World) -> None:
    """Any stored certificate that covers the names will do: no order."""
    stored = world.put("imported", world.certificate("*.example", "x.test"))
    world.start("a.example")
    assert world.served["a.example"].leaf == stored.leaf
    assert not world.orders


def test_stored_one_that_lacks_a_name(world: World) -> None:
    """It serves the names it covers until the new one is there."""
    world.put("a.example", world.certificate("a.example"))
    world.answers["a.example"] = lambda names: Deferred()
    world.start("a.example,www.a.example")
    assert world.served_names["a.example"] == ("a.example",)
    assert world.orders == [(0, ("a.example", "www.a.example"))]


def test_expired_one_is_not_served(world: World) -> None:
    """An expired certificate is no certificate."""
    world.put("a.example", world.certificate("a.example", begun=91 * DAY))
    world.answers["a.example"] = raising(AcmeConnectionError("down"))
    world.start("a.example")
    assert world.served == {}


def test_fresh_one_is_left_alone_for_years(world: World) -> None:
    """Two years: an order every 60 days, each time before a third of the life is left, and never an expired one."""
    world.start("a.example")
    for _ in range(730):
        world.pass_time(DAY, step=DAY)
        assert world.served["a.example"].not_after - world.now() >= timedelta(days=29)
    times = world.times("a.example")
    assert len(times) in (12, 13)
    assert all(57 * DAY < later - earlier <= 60 * DAY for earlier, later in pairwise(times))


def test_lives_of_seconds(world: World) -> None:
    """Sixty-second certificates are renewed at half of their life, again and again."""
    world.life = 60
    world.start("a.example")
    world.pass_time(300)
    assert 9 <= len(world.orders) <= 12


def test_corrupt_record(world: World) -> None:
    """A renewal record of no use is logged and begun afresh; the certificate is served."""
    stored = world.put("a.example", world.certificate("a.example"))
    (world.folder / "renewal").mkdir()
    (world.folder / "renewal" / "a.example.json").write_bytes(b"\0")
    world.start("a.example")
    assert world.served["a.example"].leaf == stored.leaf
    assert any("not a renewal record" in line for line in world.log)


def test_when_loaded_waits(world: World) -> None:
    """It fires once the store has answered, for those who asked before and after."""
    answer: Deferred[Any] = Deferred()
    world.store.certificates = lambda: answer
    service = world.start("a.example")
    before = service.when_loaded()
    not_yet(before)
    assert service.report() == ()
    answer.callback({})
    succeeded(before)
    succeeded(service.when_loaded())


def test_unreadable_store_orders_nothing(world: World) -> None:
    """Nothing is ordered while what is there is unknown; listening goes ahead; the store is read again and again."""
    stored = world.put("a.example", world.certificate("a.example"))
    real, world.store.certificates = world.store.certificates, lambda: fail(StoreError("cannot list: denied"))
    service = world.start("a.example")
    succeeded(service.when_loaded())
    world.pass_time(HOUR)
    assert not world.orders
    assert any("cannot list: denied" in line and "none is ordered" in line for line in world.log)
    world.store.certificates = real
    world.pass_time(600)
    assert world.served["a.example"].leaf == stored.leaf


def test_store_that_hangs(world: World) -> None:
    """A look into the store that never ends is given up and repeated; stopping meanwhile is clean."""
    world.store.certificates = Deferred
    service = world.start("a.example")
    not_yet(service.when_loaded())
    world.pass_time(61)
    succeeded(service.when_loaded())
    succeeded(service.stopService())
    assert world.clock.getDelayedCalls() == []


def test_stop_while_loading(world: World) -> None:
    """Stopped before the store has answered; or before it was started at all."""
    world.store.certificates = Deferred
    service = world.service("a.example")
    succeeded(service.stopService())
    service.startService()
    succeeded(service.stopService())
    assert world.clock.getDelayedCalls() == []
    assert not any("cannot be read" in line for line in world.log)


def test_unexpected_error_before_the_first_renewal(world: World) -> None:
    """Even an error in loading that nobody thought of is survived."""
    errors = [RuntimeError("no threads")]

    def flaky(function: Callable[[], Any]) -> Deferred[Any]:
        return fail(errors.pop()) if errors else maybeDeferred(function)

    service = world.service("a.example")
    service._env = evolve(service._env, defer=flaky)
    service.startService()
    succeeded(service.when_loaded())
    assert not world.orders
    world.pass_time(61)
    assert "a.example" in world.served


# Failing


def test_backoff(world: World) -> None:
    """1, 10, 100 minutes, then daily; the log says who, why, when next and what meanwhile."""
    world.answers["a.example"] = raising(OrderError("a.example: DNS problem: NXDOMAIN looking up A for a.example"))
    service = world.start("a.example")
    world.pass_time(3 * DAY)
    assert world.times("a.example") == [0, 60, 660, 6660, 6660 + DAY, 6660 + 2 * DAY]
    report = only(service)
    assert report.state.failures == 6
    assert "NXDOMAIN" in report.state.problem
    first = next(line for line in world.log if "no certificate for" in line)
    for part in ("a.example: no", "NXDOMAIN", "tried again at 2027-01-01 00:01:00 UTC", "cannot be reached over TLS"):
        assert part in first


def test_old_one_serves_while_renewal_fails(world: World) -> None:
    """Thirty days of failures: the old certificate stays, the last day is used well, and the CA's return is enough."""
    world.start("a.example")
    old = world.served["a.example"]
    world.answers["a.example"] = raising(OrderError("a.example: no"))
    world.pass_time(89.9 * DAY)
    assert world.served["a.example"] is old
    assert any("stays in service" in line for line in world.log)
    assert 30 < len(world.orders) < 60
    del world.answers["a.example"]
    world.pass_time(0.1 * DAY)
    assert world.served["a.example"] is not old


def test_expired_in_service_stays(world: World) -> None:
    """What was in service when it expired stays until something better comes."""
    world.start("a.example")
    old = world.served["a.example"]
    world.answers["a.example"] = raising(OrderError("a.example: no"))
    world.pass_time(100 * DAY)
    assert world.served["a.example"] is old


def test_one_site_does_not_delay_another(world: World) -> None:
    """One site hangs, one fails, one breaks: the fourth is certified at once."""
    world.answers["hangs.example"] = lambda names: Deferred()
    world.answers["fails.example"] = raising(OrderError("fails.example: no"))
    world.answers["breaks.example"] = raising(RuntimeError("a bug"))
    world.start("hangs.example", "fails.example", "breaks.example", "good.example")
    assert list(world.served) == ["good.example"]
    assert world.clock.seconds() == 0


def test_bounded_orders_at_once(world: World) -> None:
    """No more orders at once than allowed; those that hang are given up, so that the others get their turn."""
    for n in range(3):
        world.answers[f"hangs{n}.example"] = lambda names: Deferred()
    world.start(
        "hangs0.example", "hangs1.example", "hangs2.example", "good.example", orders_at_once=2, order_timeout=600
    )
    assert len(world.orders) == 2
    world.pass_time(601)
    assert "good.example" in world.served
    assert any("not finished within 600 s" in line for line in world.log)


def test_retry_after_is_kept(world: World) -> None:
    """A rate limit with a time: not a second earlier, in this process or the next."""
    error = AcmeProblemError(problem("rateLimited", "too many", 7200.0), "new order")
    world.answers["a.example"] = raising(error)
    service = world.start("a.example")
    world.pass_time(7000)
    succeeded(service.stopService())
    world.start("a.example")
    world.pass_time(199, step=1)
    assert world.times("a.example") == [0]
    world.pass_time(2, step=1)
    assert world.times("a.example") == [0, 7200]


def test_retry_after_in_a_subproblem(world: World) -> None:
    """The longest wait that any name's problem asks for."""
    failures = {"a.example": problem("rateLimited", retry_after=300.0), "b.example": problem("dns")}
    world.answers["a.example"] = raising(OrderError("no", failures))
    world.start("a.example,b.example")
    world.pass_time(301)
    assert world.times("a.example") == [0, 300]


def test_unreachable_ca_is_asked_soon_again(world: World) -> None:
    """An outage of a day: quickly at first, then every quarter of an hour, so that the CA's return is seen."""
    world.answers["a.example"] = raising(AcmeConnectionError("connection refused"))
    world.start("a.example")
    world.pass_time(DAY)
    times = world.times("a.example")
    assert times[:4] == [0, 5, 15, 35]
    del world.answers["a.example"]
    world.pass_time(15 * MINUTE)
    assert "a.example" in world.served


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda world: world.certificate("other.example"), "does not cover a.example"),
        (lambda world: world.certificate("a.example", begun=91 * DAY), "expired"),
        (lambda world: world.certificate("a.example", begun=-3 * DAY), "not valid before"),
        (
            lambda world: Certificate(make_certificate(["x"]).key, world.certificate("a.example").leaf),
            "private key does not belong",
        ),
        (lambda world: None, "unexpected error"),
    ],
    ids=["names", "expired", "not yet", "key", "nothing at all"],
)
def test_wrong_certificate_is_never_served(world: World, wrong: Callable[[World], Any], words: str) -> None:
    """What the CA hands out is checked; what fails is neither stored nor served, and counts as a failure."""
    world.answers["a.example"] = lambda names: wrong(world)
    service = world.start("a.example")
    assert world.served == {}
    assert succeeded(world.store.as_dict()) == {}
    assert words in only(service).state.problem
    world.pass_time(61)
    assert len(world.orders) == 2


def test_ca_clock_a_little_ahead(world: World) -> None:
    """Two minutes of difference are no reason to throw a certificate away."""
    world.answers["a.example"] = lambda names: world.certificate("a.example", begun=-120)
    world.start("a.example")
    assert "a.example" in world.served


def test_ca_clock_far_ahead(world: World) -> None:
    """Our clock is a day behind: what was ordered is not thrown away, but kept until it may be served."""
    world.answers["a.example"] = lambda names: world.certificate("a.example", begun=-DAY)
    world.start("a.example")
    assert world.served == {}
    assert any("CLOCK IS WRONG" in line for line in world.log)
    assert (world.state("a.example").failures, world.state("a.example").running) == (0, False)
    world.pass_time(DAY)
    assert "a.example" in world.served
    assert len(world.orders) == 1


def test_openssl_refuses_before_storing(world: World) -> None:
    """What OpenSSL would not load is not stored."""

    def refuse(certificate: Certificate) -> None:
        raise CertificateError("OpenSSL: ee key too small")

    service = world.start("a.example", verify=refuse)
    assert world.served == {}
    assert succeeded(world.store.as_dict()) == {}
    assert "key too small" in only(service).state.problem


def test_swap_fails(world: World) -> None:
    """A stored certificate that cannot be served is as good as none: a new one after a wait, no storm of orders."""
    world.put("a.example", world.certificate("a.example"))

    def refuse(site: str, names: Sequence[str], certificate: Certificate) -> None:
        raise CertificateError("OpenSSL: no")

    service = world.start("a.example", install=refuse)
    assert not world.orders
    assert only(service).state.failures == 1
    world.pass_time(DAY)
    assert 3 <= len(world.orders) <= 4
    assert only(service).serving is None


def test_an_error_nobody_thought_of(world: World) -> None:
    """Whatever happens in a site's loop, it goes on."""
    service = world.start("a.example")
    renewal = service._renewals[0]
    real, calls = renewal._plan, []

    def broken(now: datetime) -> Any:
        calls.append(now)
        if len(calls) == 1:
            raise ZeroDivisionError
        return real(now)

    renewal._plan = broken
    world.pass_time(70 * DAY)
    assert len(world.orders) == 2
    assert any("unexpected error in its renewal" in line for line in world.log)


# The disk


def break_disk(patch: pytest.MonkeyPatch, error: int = errno.ENOSPC) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(error, os.strerror(error))

    patch.setattr(os, "fsync", refuse)


def test_full_disk_costs_no_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Due for renewal on a full disk, and the old one good: no order, since it could not be kept; then it goes on."""
    world.start("a.example")
    old = world.served["a.example"]
    with monkeypatch.context() as patch:
        break_disk(patch)
        world.pass_time(61 * DAY)
        assert len(world.orders) == 1
        assert world.served["a.example"] is old
        assert any("No space left on device" in line for line in world.log)
    world.pass_time(DAY)
    assert len(world.orders) == 2
    assert world.stored("a.example").leaf == world.served["a.example"].leaf


def test_full_disk_without_any_certificate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site without a certificate gets one in spite of the disk: served unsaved, said loudly, saved when it can be."""
    with monkeypatch.context() as patch:
        break_disk(patch)
        service = world.start("a.example")
        unsaved = world.served["a.example"]
        assert not only(service).saved
        assert any("CANNOT BE SAVED" in line and "free space" in line for line in world.log)
        world.pass_time(DAY)
    world.pass_time(15 * MINUTE)
    assert only(service).saved
    assert world.stored("a.example").leaf == unsaved.leaf
    assert world.served["a.example"] is unsaved
    assert len(world.orders) == 1, "saving again is no new order"
    assert len(world.swaps) == 1


def test_store_fails_after_the_order(world: World) -> None:
    """The old one serves on until its last tenth; only then the unsaved one goes live; one order in all."""
    world.start("a.example")
    old = world.served["a.example"]
    real, world.store.store = world.store.store, lambda *args: fail(StoreError("disk broken"))
    world.pass_time(70 * DAY)
    assert len(world.orders) == 2
    assert world.served["a.example"] is old
    world.pass_time(11.5 * DAY)
    new = world.served["a.example"]
    assert new is not old
    world.store.store = real
    world.pass_time(HOUR)
    assert world.stored("a.example").leaf == new.leaf
    assert len(world.orders) == 2


def test_store_that_never_answers(world: World) -> None:
    """A write that hangs is a write that failed."""
    world.store.store = lambda *args: Deferred()
    service = world.start("a.example")
    world.pass_time(121)
    assert not only(service).saved
    assert "a.example" in world.served


def test_record_cannot_be_written_after_success(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is what counts: it is served even if the record of it cannot be written."""
    monkeypatch.setattr(StateFolder, "save", lambda *args: raising(StoreError("cannot write x"))(()))
    world.start("a.example")
    assert world.stored("a.example").leaf == world.served["a.example"].leaf
    assert any("cannot be written down: cannot write x" in line for line in world.log)


# Restarting and stopping


def test_restart_orders_nothing(world: World) -> None:
    """Fifty restarts with a good certificate: no further order."""
    succeeded(world.start("a.example").stopService())
    for _ in range(50):
        succeeded(world.start("a.example").stopService())
    assert len(world.orders) == 1


def test_crashes_in_an_order(world: World) -> None:
    """Fifty crashes, each in the middle of an order: one order, and forty-nine times going on with it."""
    world.answers["a.example"] = lambda names: Deferred()
    for _ in range(50):
        world.start("a.example").running = False  # abandoned, as by kill -9
    assert len(world.orders) - len(world.resumed) == 1


def test_crash_between_store_and_record(world: World) -> None:
    """The certificate was stored, its record not: the new process takes it for the success that it was."""
    world.put("a.example", world.certificate("a.example"))
    state = RenewalState().begin(["a.example"], world.now(), world.now() + timedelta(minutes=1))
    StateFolder(world.folder / "renewal").save("a.example", state)
    report = only(world.start("a.example"))
    assert (report.state.failures, report.state.running) == (0, False)


def test_crash_before_store(world: World) -> None:
    """A due certificate and an attempt that never ended: still a failure."""
    world.put("a.example", world.certificate("a.example", begun=70 * DAY))
    state = RenewalState().begin(["a.example"], world.now(), world.now() + timedelta(minutes=1))
    StateFolder(world.folder / "renewal").save("a.example", state)
    world.start("a.example")
    assert not world.orders
    world.pass_time(61)
    assert len(world.orders) == 1


def test_restart_after_a_repair(world: World) -> None:
    """After daily failures somebody repairs the DNS and restarts: tried at once."""
    world.answers["a.example"] = raising(OrderError("a.example: no"))
    service = world.start("a.example")
    world.pass_time(2 * DAY)
    succeeded(service.stopService())
    del world.answers["a.example"]
    world.start("a.example")
    assert "a.example" in world.served


def test_names_changed(world: World) -> None:
    """A failure for other names does not hold back an order for these."""
    world.answers["a.example"] = raising(OrderError("a.example: no"))
    succeeded(world.start("a.example,typo.example").stopService())
    del world.answers["a.example"]
    world.start("a.example,b.example")
    assert "a.example" in world.served


def test_stop_in_an_order(world: World) -> None:
    """The order is cancelled, its clean-up awaited, the record says so, and the next start goes on with it."""
    cleaned: Deferred[None] = Deferred()

    async def slow(names: Sequence[str]) -> Any:
        try:
            await Deferred()
        finally:
            await cleaned

    world.answers["a.example"] = lambda names: Deferred.fromCoroutine(slow(names))
    service = world.start("a.example")
    stopping = service.stopService()
    not_yet(stopping)
    cleaned.callback(None)
    succeeded(stopping)
    assert world.clock.getDelayedCalls() == []
    assert (world.state("a.example").failures, world.state("a.example").running) == (0, False)
    world.answers.clear()
    world.start("a.example")
    assert world.times("a.example") == [0, 0]
    assert len(world.resumed) == 1


def test_settle(world: World) -> None:
    """The order under way comes to its end and into service, and no other begins before the next start."""
    gate: Deferred[None] = Deferred()
    world.answers["a.example"] = lambda names: gate.addCallback(lambda _: world.certificate(*names))
    service = world.start("a.example", "b.example", orders_at_once=1)
    settled = Deferred.fromCoroutine(service.settle(30))
    world.clock.advance(29)
    not_yet(settled)
    gate.callback(None)
    world.clock.advance(0)
    succeeded(settled)
    succeeded(service.stopService())
    assert list(world.served) == ["a.example"]
    service.startService()
    assert list(world.served) == ["a.example", "b.example"]


def test_settle_with_an_order_that_hangs(world: World) -> None:
    """It is not waited for beyond the patience."""
    world.answers["a.example"] = lambda names: Deferred()
    service = world.start("a.example")
    settled = Deferred.fromCoroutine(service.settle(30))
    world.clock.advance(30)
    world.clock.advance(0)
    succeeded(settled)
    succeeded(service.stopService())


def test_stop_gives_up_waiting(world: World) -> None:
    """Clean-up that never ends does not keep the service from stopping."""
    world.answers["a.example"] = lambda names: Deferred(lambda _: None).addErrback(lambda _: Deferred())
    stopping = world.start("a.example").stopService()
    not_yet(stopping)
    world.clock.advance(11)
    succeeded(stopping)
    assert any("did not stop within" in line for line in world.log)


def test_stop_in_a_write(world: World) -> None:
    """A certificate that is being written is written to its end, and not lost."""
    real, gate = world.store.store, Deferred()
    world.store.store = lambda *args: gate.addCallback(lambda _: real(*args))
    stopping = world.start("a.example").stopService()
    not_yet(stopping)
    gate.callback(None)
    succeeded(stopping)
    assert world.stored("a.example")
    assert world.clock.getDelayedCalls() == []


def test_stop_while_waiting_for_a_turn(world: World) -> None:
    """A site in the queue is stopped as well as one in an order."""
    world.answers.update({name: lambda names: Deferred() for name in ("a.example", "b.example")})
    service = world.start("a.example", "b.example", orders_at_once=1)
    succeeded(service.stopService())
    assert world.clock.getDelayedCalls() == []


def test_stop_in_a_pause_after_an_unexpected_error(world: World) -> None:
    """Neither pause outlives the service."""
    service = world.start("a.example")
    service._renewals[0]._plan = raising(ZeroDivisionError())
    world.pass_time(HOUR)
    succeeded(service.stopService())
    assert world.clock.getDelayedCalls() == []


def test_started_again(world: World) -> None:
    """A stopped service can be started again."""
    service = world.start("a.example")
    succeeded(service.stopService())
    service.startService()
    world.pass_time(70 * DAY)
    assert len(world.orders) == 2


# Clocks


@pytest.mark.parametrize("jump", [-DAY, DAY, -40 * DAY])
def test_wall_clock_jumps(world: World, jump: float) -> None:
    """The wall clock is set: nothing fires for it, nothing freezes, the plan is made anew within the hour."""
    world.start("a.example")
    world.pass_time(10 * DAY)
    world.jump = jump
    world.pass_time(2 * HOUR)
    assert len(world.orders) == 1
    world.pass_time(48.5 * DAY - jump)
    assert len(world.orders) == 2


def test_wall_clock_jumps_over_the_due_time(world: World) -> None:
    """A machine that slept for two months looks within the hour of waking, and renews within another."""
    chances = iter([0.5] * 2 + [0.1, 0.9] * 20)
    world.start("a.example", "b.example", chance=lambda: next(chances))
    world.pass_time(DAY)
    world.jump = 65 * DAY
    world.pass_time(2 * HOUR)
    assert len(world.orders) == 4
    assert world.orders[2][1] != world.orders[3][1]
    assert world.orders[3][0] - world.orders[2][0] > 100, "not both at once"


def test_clock_wrong_at_start(world: World) -> None:
    """A machine that wakes in the past does not order, and serves what it has as soon as its clock is right."""
    world.put("a.example", world.certificate("a.example"))
    world.jump = -300 * DAY
    world.start("a.example")
    assert not world.served
    assert not world.orders
    world.pass_time(HOUR)
    world.jump = 0
    world.pass_time(10)
    assert "a.example" in world.served
    assert not world.orders


# Stores of others


def test_txacme_directory_store(world: World) -> None:
    """txacme's own store plugs in."""
    world.store = DirectoryStore(FilePath(str(world.folder)))
    service = world.start("a.example")
    assert "a.example" in world.served
    succeeded(service.stopService())
    world.start("a.example")
    assert len(world.orders) == 1


def test_foreign_store_with_nonsense(world: World) -> None:
    """What another's store holds may be anything: the good entries are served."""
    good = world.certificate("a.example")

    @implementer(ICertificateStore)
    class Foreign:
        def get(self, server_name: str) -> Deferred[Any]:
            return fail(KeyError(server_name))

        def store(self, server_name: str, pem_objects: Any) -> Deferred[None]:
            raise RuntimeError("read-only")

        def as_dict(self) -> Deferred[Any]:
            return succeed({"x": [], "y": [None], "a.example": pem.parse(good.to_pem())})

    world.store = Foreign()
    service = world.start("a.example", "b.example")
    assert world.served["a.example"].leaf == good.leaf
    assert "b.example" in world.served
    assert [report.saved for report in service.report()] == [True, False]
    assert any("what is stored for y is of no use" in line for line in world.log)
