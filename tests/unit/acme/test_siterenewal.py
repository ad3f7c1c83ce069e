"""What a site's renewal makes of renewal information, budgets, several CAs, lost names, the DNS and its operator."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from appliance.acme.ari import RenewalInfo
from appliance.acme.budget import LETS_ENCRYPT, UNLIMITED, Limits
from appliance.acme.decision import Step
from appliance.acme.request import CertificateRequest, Unfinished
from appliance.acme.state import StateFolder
from appliance.ca.policy import TEST_SUFFIXES
from appliance.config import Site
from appliance.errors import (
    AcmeConnectionError,
    AcmeError,
    AcmeProblemError,
    ApplianceError,
    OrderError,
    Problem,
)
from appliance.store import CertificateStore
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate
from tests.support.demo_ca import World as CaWorld
from tests.support.renewalworld import DAY, HOUR, MINUTE, World, at_once, only, problem, raising, succeeded

DNS = Problem("urn:ietf:params:acme:error:dns", "NXDOMAIN looking up A for it")
DOWN = AcmeConnectionError("directory: connection refused")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)

    def observe(event: Any) -> None:
        world.log.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield world
    globalLogPublisher.removeObserver(observe)


def logged(world: World, *words: str) -> bool:
    """Whether one line has them all."""
    return any(all(word in line for word in words) for line in world.log)


def window(world: World, start: float, end: float) -> RenewalInfo:
    """In seconds from now."""
    return RenewalInfo(world.now() + timedelta(seconds=start), world.now() + timedelta(seconds=end), "https://ca/why")


def done(work: Any) -> Any:
    """What a coroutine or a Deferred that is over has come to; raises what it failed with."""
    results: list[Any] = []
    (work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


@define
class OtherCa:
    """Another CA of the same world."""

    world: World
    name: str
    host: str = ""
    limits: Limits = UNLIMITED
    answer: Any = None
    requests: list[CertificateRequest] = field(factory=list)

    async def renewal_info(self, certificate: Certificate) -> None:
        return None

    async def obtain(
        self, request: CertificateRequest, unfinished: Unfinished | None, remember: Any, tell: Any
    ) -> Certificate:
        self.requests.append(request)
        if self.answer is not None:
            raise self.answer
        return self.world.certificate(*request.names)


# Renewal information


def test_renewed_in_the_window(world: World) -> None:
    """Asked at once and twice a day; renewed at the moment drawn; the order names what it replaces."""
    leaf = CaWorld().issue("a.example")
    ours = make_certificate(["a.example"], not_before=world.now(), not_after=world.now() + timedelta(days=90))
    assert {"example"} <= set(TEST_SUFFIXES)
    info = window(world, 5 * DAY, 7 * DAY)
    world.info = lambda certificate: (info, 43_200.0)
    world.start("a.example")
    world.pass_time(5.9 * DAY)
    assert len(world.orders) == 1
    assert len(world.asked) >= 11
    assert logged(
        world, "a.example: the CA suggests to renew from 2027-01-06 00:00 to 2027-01-08 00:00", "https://ca/why"
    )
    world.pass_time(0.2 * DAY)
    assert len(world.orders) == 2
    assert leaf != ours.leaf
    assert world.requests[1].replaces is None, "a certificate that does not say which key signed it"


def test_restarts_draw_no_other_moment(world: World) -> None:
    """Ten restarts, each with another chance: the moment that was drawn first is the one."""
    info = window(world, 5 * DAY, 7 * DAY)
    world.info = lambda certificate: (info, None)
    service = world.start("a.example", chance=lambda: 0.9)
    world.pass_time(MINUTE)
    for _ in range(10):
        succeeded(service.stopService())
        service = world.start("a.example", chance=lambda: 0.01)
        world.pass_time(MINUTE)
    world.pass_time(6.7 * DAY)
    assert len(world.orders) == 1
    world.pass_time(0.2 * DAY)
    assert len(world.orders) == 2


def test_window_in_the_past(world: World) -> None:
    """At once, and told as an error, until the next certificate is there."""
    world.start("a.example")
    world.pass_time(DAY)
    old = world.served["a.example"]
    past = window(world, -2 * HOUR, -HOUR)
    world.info = lambda certificate: (past, None) if certificate.serial == old.serial else None
    world.answers["a.example"] = raising(OrderError("no"))
    service_alarm = ""
    world.pass_time(13 * HOUR)
    assert logged(world, "which is over: it is done at once", "https://ca/why")
    assert len(world.orders) > 1
    del world.answers["a.example"]
    world.pass_time(2 * DAY)
    assert world.served["a.example"] is not old
    assert service_alarm == ""


def test_alarm(world: World) -> None:
    """A report says what somebody should look at: a recalled certificate, one that ends, names that are missing."""
    world.info = lambda certificate: (window(world, -2 * HOUR, -HOUR), None)
    world.answers["a.example"] = lambda names: world.certificate(*names)
    service = world.start("a.example", "b.example")
    assert "wants the certificate replaced at once: https://ca/why" in service.report()[0].alarm
    world.info = None
    world.answers["b.example"] = raising(OrderError("the CA's own words"))
    world.pass_time(83 * DAY)
    assert "the certificate ends at" in service.report()[1].alarm
    assert "the CA's own words" in service.report()[1].alarm


def test_information_fails(world: World) -> None:
    """Said, asked again within the hour; renewed by age."""
    world.info = lambda certificate: AcmeConnectionError("renewal information: time-out")
    world.start("a.example")
    assert logged(world, "a.example: ca does not say when to renew: renewal information: time-out")
    world.pass_time(61 * DAY)
    assert len(world.orders) == 2
    assert len(world.asked) > 24 * 60


def test_information_breaks(world: World) -> None:
    """An error that nobody thought of keeps no certificate from being renewed."""
    world.info = lambda certificate: ZeroDivisionError()
    world.start("a.example")
    world.pass_time(61 * DAY)
    assert len(world.orders) == 2


def replaceable(world: World, answer: Any) -> list[str | None]:
    """A site's certificate that is to be replaced at once, orders for which get ``answer``; what each of them says."""
    said: list[str | None] = []

    def answered(names: Sequence[str]) -> Any:
        said.append(world.requests[-1].replaces)
        return answer(names)

    service = world.start("a.example")
    world.answers["a.example"] = answered
    world.info = lambda certificate: (window(world, -HOUR, HOUR), None)
    identified = Certificate(make_certificate(["a.example"]).key, CaWorld().issue("a.example"))
    certificates = service._renewals[0]._certificates
    certificates.stored = certificates.serving = identified
    return said


@pytest.mark.parametrize(
    ("code", "status"), [("alreadyReplaced", 409), ("unauthorized", 403), ("malformed", 400), ("malformed", 404)]
)
def test_refused_replacing(world: World, code: str, status: int) -> None:
    """A CA that does not like ``replaces``, in whatever words, gets the same order without it, and it counts."""
    refusal = Problem(f"urn:ietf:params:acme:error:{code}", "cannot replace that", status)

    def answer(names: Sequence[str]) -> Certificate:
        if world.requests[-1].replaces is not None:
            raise AcmeProblemError(refusal, "new order for a.example")
        return world.certificate(*names)

    said = replaceable(world, answer)
    world.pass_time(2 * DAY)
    assert said[0] is not None
    assert said[1] is None
    assert logged(world, "ordered as if it replaced nothing", "cannot replace that")


@pytest.mark.parametrize(
    ("code", "status", "step"),
    [
        ("rateLimited", 429, "new order for a.example"),
        ("badNonce", 400, "new order for a.example"),
        ("accountDoesNotExist", 400, "new order for a.example"),
        ("serverInternal", 500, "new order for a.example"),
        ("unauthorized", 403, "finalize the order for a.example"),
    ],
)
def test_not_about_replacing(world: World, code: str, status: int, step: str) -> None:
    """What is surely about something else is not asked twice."""
    refusal = Problem(f"urn:ietf:params:acme:error:{code}", "no", status)
    said = replaceable(world, raising(AcmeProblemError(refusal, step)))
    world.pass_time(2 * DAY)
    assert len(said) > 1
    assert None not in said
    assert not logged(world, "ordered as if it replaced nothing")


def test_refused_with_and_without_replacing(world: World) -> None:
    """Then it was about something else: once that is mended, the order says again what it replaces."""
    refusal = Problem("urn:ietf:params:acme:error:unauthorized", "deactivated", 403)
    said = replaceable(world, raising(AcmeProblemError(refusal, "new order for a.example")))
    world.pass_time(2 * DAY)
    assert said[0] is not None
    assert said[:4] == [said[0], None, said[0], None]


# Budgets


def test_never_over_the_budget(world: World) -> None:
    """Certificates of two hours at Let's Encrypt's limits: four a week, said, and kept across restarts."""
    world.limits, world.life = LETS_ENCRYPT, 2 * HOUR
    service = world.start("a.example")
    world.pass_time(2 * DAY)
    assert len(world.orders) == 4
    assert logged(world, "a.example: no order yet: 4 certificates for exactly these names within 7 days")
    report = only(service)
    assert "4 certificates for exactly these names" in report.next_step.reason
    assert report.state.failures == 0
    succeeded(service.stopService())
    world.start("a.example")
    world.pass_time(20 * DAY)
    times = world.times("a.example")
    assert len(times) == 16
    assert all(later - earlier >= 7 * DAY for earlier, later in zip(times, times[4:], strict=False))


def test_held_while_the_clock_is_behind(world: World) -> None:
    """A restart with the clock of some minutes ago, and the CA wants no orders: that is said once, and slept on."""
    limited = problem("rateLimited", "too many new orders (300) from this account", 7200.0)
    world.answers["a.example"] = raising(AcmeProblemError(limited, "new order"))
    succeeded(world.start("a.example").stopService())
    world.jump = -10 * MINUTE
    before, worked = len(world.log), []

    def disk(work: Callable[[], Any]) -> Deferred[Any]:
        worked.append(work)
        return deferLater(world.clock, 0.01, work)

    service = world.start("a.example", defer=disk)
    world.pass_time(11 * MINUTE)
    assert len([line for line in world.log[before:] if "no order yet" in line]) == 1
    assert "ca wants no orders from this account" in only(service).next_step.reason
    assert len(worked) < 10
    world.pass_time(2 * HOUR)
    assert len(world.orders) == 2


def test_bad_certificates_count(world: World) -> None:
    """The CA has issued them, of whatever use they are."""
    world.limits = LETS_ENCRYPT
    world.answers["a.example"] = lambda names: Certificate(make_certificate(names).key, make_certificate(names).leaf)
    world.start("a.example")
    assert logged(world, "private key does not belong")
    world.pass_time(5 * DAY)
    assert len(world.orders) == 4


def test_failed_orders_are_given_back(world: World) -> None:
    """Two days without the CA use nothing up, of a week's budget neither: its return is enough."""
    world.limits = LETS_ENCRYPT
    world.answers["a.example"] = raising(DOWN)
    world.start("a.example")
    world.pass_time(2 * DAY)
    assert len(world.orders) > 150
    del world.answers["a.example"]
    world.pass_time(20 * MINUTE)
    assert "a.example" in world.served


def test_failed_validations_are_counted(world: World) -> None:
    """Never five failed validations of a name within an hour, whoever insists."""
    world.limits = LETS_ENCRYPT
    world.answers["a.example"] = raising(OrderError("no", {"a.example": DNS}))
    service = world.start("a.example")
    for _ in range(100):
        Deferred.fromCoroutine(service.renew("a.example", force=True)).addErrback(lambda failure: None)
        world.pass_time(2 * MINUTE)
    times = world.times("a.example")
    assert all(later - earlier >= HOUR for earlier, later in zip(times, times[4:], strict=False))


def test_the_whole_account_waits(world: World) -> None:
    """One site is told that the account has had enough: no other site asks before that time, after restarts neither."""
    error = AcmeProblemError(problem("rateLimited", "too many new orders from this account", 7200.0), "new order")
    world.answers["a.example"] = raising(error)
    service = world.start("a.example")
    succeeded(service.stopService())
    del world.answers["a.example"]
    world.start("a.example", "b.example")
    world.pass_time(7190, step=1000)
    assert len(world.orders) == 1
    assert logged(world, "b.example: no order yet: ca wants no orders from this account")
    world.pass_time(30, step=1)
    assert {"b.example"} == set(world.served)
    world.pass_time(60, step=1)
    assert {"a.example", "b.example"} == set(world.served)


def test_a_site_that_is_always_refused_for_the_whole_account(world: World) -> None:
    """The others have their turn before it comes back and is told the same again."""
    error = AcmeProblemError(problem("rateLimited", "too many new orders from this account", 3600.0), "new order")
    world.answers["a.example"] = raising(error)
    world.start("a.example", "b.example", "c.example")
    world.pass_time(2 * HOUR)
    assert {"b.example", "c.example"} == set(world.served)
    assert len(world.times("a.example")) == 2


def test_a_limit_of_one_name(world: World) -> None:
    """In Let's Encrypt's words, which end in the address of a page: no other site waits for it."""
    detail = 'too many failed authorizations (5) for "a.example" in the last 1h0m0s: see https://ca/#per-account'
    world.answers["a.example"] = raising(AcmeProblemError(problem("rateLimited", detail, 3600.0), "new order"))
    world.start("a.example", "b.example")
    assert {"b.example"} == set(world.served)


def test_broken_ledger(world: World) -> None:
    """A file of no use is set aside and said; one that cannot be written is counted in memory."""
    (world.folder / "spending.json").write_bytes(b"{")
    world.limits = LETS_ENCRYPT
    world.start("a.example")
    assert logged(world, "what was used of CAs before is not known", "was set aside as")
    assert "a.example" in world.served
    assert (world.folder / "spending.json").exists()


def test_unreadable_ledger(world: World) -> None:
    """A folder in its place: said, and no reason to be without certificates."""
    (world.folder / "spending.json").mkdir()
    world.limits = LETS_ENCRYPT
    world.start("a.example")
    assert logged(world, "what was used of CAs before is not known: cannot read")
    assert logged(world, "what was used of CAs cannot be written down")
    assert "a.example" in world.served


def test_ledger_that_cannot_be_moved(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither understood nor moved: both are said."""
    (world.folder / "spending.json").write_bytes(b"{")

    def refuse(*args: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "link", refuse)
    world.start("a.example")
    assert logged(world, "makes no sense", "cannot set aside")


# Several CAs


def test_falls_back(world: World) -> None:
    """Without a certificate, the second CA is asked after three failures; the next renewal begins with the first."""
    world.answers["a.example"] = raising(DOWN)
    other = OtherCa(world, "other")
    service = world.start("a.example", issuers=[world, other])
    world.pass_time(5 * MINUTE)
    assert (len(world.orders), len(other.requests)) == (3, 1)
    assert only(service).state.authority == "other"
    assert logged(world, "orders a certificate for a.example from other")
    del world.answers["a.example"]
    world.pass_time(61 * DAY)
    assert len(world.orders) == 4


def test_site_of_one_ca(world: World) -> None:
    """A site that names its CA gets no other."""
    other = OtherCa(world, "other", answer=DOWN)
    sites = [Site(("a.example",), (), issuer=("other",), profile="short", key_type="p384")]
    world.start("a.example", issuers=[world, other], sites=sites)
    world.pass_time(HOUR)
    assert world.orders == []
    assert len(other.requests) > 3
    assert (other.requests[0].profile, other.requests[0].key_type) == ("short", "p384")


STAGING, PRODUCTION = "acme-staging.test", "acme.test"


def tried_at_staging(world: World, **options: Any) -> Certificate:
    """The certificate from there; then the service is stopped, and the CA is another one."""
    world.name = world.host = STAGING
    service = world.start("a.example", **options)
    assert only(service).state.host == STAGING
    succeeded(service.stopService())
    world.name = world.host = PRODUCTION
    return world.served["a.example"]


def test_from_staging_to_production(world: World) -> None:
    """A certificate that nobody trusts is replaced at once, and served until then; not again after restarts."""
    staged = tried_at_staging(world)
    orders: list[Deferred[Any]] = []

    def answer(names: Sequence[str]) -> Deferred[Any]:
        orders.append(Deferred())
        return orders[-1]

    world.answers["a.example"] = answer
    service = world.start("a.example")
    assert len(orders) == 1
    assert world.served["a.example"].serial == staged.serial
    assert logged(world, f"is from {STAGING}, which is no longer configured for this site")
    orders[0].callback(world.certificate("a.example"))
    assert world.served["a.example"].serial != staged.serial
    succeeded(service.stopService())
    world.start("a.example")
    world.pass_time(50 * DAY)
    assert len(orders) == 1


def test_from_staging_to_production_by_a_reload(world: World, tmp_path: Path) -> None:
    """Even if both are called the same."""
    world.host = STAGING
    service = world.start("a.example")
    service.replace_authorities([other := World(tmp_path, clock=world.clock, host=PRODUCTION)], None, "p256", 8)
    assert len(other.orders) == 1
    world.pass_time(50 * DAY)
    assert (len(world.orders), len(other.orders)) == (1, 1)


def test_from_staging_to_production_for_a_site_of_some_cas(world: World) -> None:
    """A reload replaces the CAs first: in between, a site may name one that is gone, and nothing follows from that."""
    world.host = STAGING
    sites = [Site(("a.example",), (), issuer=("ca", "other"))]
    service = world.start(sites=sites, issuers=[world, other := OtherCa(world, "other", host="other.test")])
    service.replace_authorities([other], None, "p256", 8)
    assert other.requests == []
    assert not logged(world, "unexpected error")
    done(service.replace_sites([evolve(sites[0], issuer=("other",))], ()))
    assert len(other.requests) == 1


def test_from_staging_to_a_production_that_fails(world: World) -> None:
    """The usual waits; what is there is served."""
    staged = tried_at_staging(world)
    world.answers["a.example"] = raising(OrderError("no", {"a.example": DNS}))
    service = world.start("a.example")
    world.pass_time(2 * DAY)
    assert len(world.orders) == 1 + 5
    assert world.served["a.example"].serial == staged.serial
    assert STAGING in only(service).next_step.reason


def test_killed_on_the_way_from_staging_to_production(world: World) -> None:
    """An order that was under way is not taken for one that has brought what is there."""
    staged = tried_at_staging(world)
    folder = StateFolder(world.folder / "renewal")
    unfinished = Unfinished(PRODUCTION, ("a.example",), "key", world.now(), url="https://ca.example/order/1")
    began = world.state("a.example").begin(("a.example",), world.now(), world.now() + timedelta(hours=1))
    folder.save("a.example", evolve(began, unfinished=unfinished))
    world.start("a.example")
    assert world.resumed == [unfinished]
    assert world.served["a.example"].serial != staged.serial


def test_a_ca_that_is_called_something_else(world: World) -> None:
    """It is the same one, as its directory's host tells."""
    tried_at_staging(world)
    world.host = STAGING
    world.start("a.example")
    world.pass_time(50 * DAY)
    assert len(world.orders) == 1


def test_an_imported_certificate_stays(world: World) -> None:
    """Nobody knows which CA it is from."""
    world.put("a.example", world.certificate("a.example"))
    world.start("a.example")
    world.pass_time(50 * DAY)
    assert world.orders == []


def test_the_certificate_of_a_fallback_stays(world: World) -> None:
    """Until it is due, after restarts too."""
    world.answers["a.example"] = raising(DOWN)
    other = OtherCa(world, "other", host="other.test")
    for _ in range(2):
        service = world.start("a.example", issuers=[world, other])
        world.pass_time(20 * DAY)
        assert only(service).state.host == "other.test"
        succeeded(service.stopService())
    assert len(other.requests) == 1


def test_rehearsal(world: World) -> None:
    """Before the first certificate, once: what fails there never reaches the CA that counts."""
    rehearsal = OtherCa(world, "staging", answer=OrderError("a.example: NXDOMAIN", {"a.example": DNS}))
    service = world.start("a.example", rehearsal=rehearsal)
    assert world.orders == []
    assert "rehearsal at staging: a.example: NXDOMAIN" in only(service).state.problem
    rehearsal.answer = None
    world.answers["a.example"] = raising(OrderError("no"))
    world.pass_time(HOUR)
    assert len(rehearsal.requests) == 2, "not again for names that have passed it"
    del world.answers["a.example"]
    world.pass_time(70 * DAY)
    assert len(rehearsal.requests) == 2


def test_rehearsal_without_the_other_ca(world: World) -> None:
    """A rehearsal that cannot be held is no obstacle."""
    world.start("a.example", rehearsal=OtherCa(world, "staging", answer=AcmeError("staging is away")))
    assert "a.example" in world.served
    assert logged(world, "no rehearsal at staging: staging is away")


# Lost names


def lose(*lost: str) -> Any:
    """An answer for the CA: these names cannot be validated."""

    def answer(world: World) -> Any:
        def inner(names: Sequence[str]) -> Certificate:
            failures = {name: DNS for name in names if name in lost}
            if failures:
                raise OrderError(f"no certificate: {', '.join(failures)}", failures)
            return world.certificate(*names)

        return inner

    return answer


def test_others_are_certified_without(world: World) -> None:
    """At once; the lost one is told, tried on its own ladder, and comes back with all of them."""
    world.answers["a.example"] = lose("b.example")(world)
    service = world.start("a.example,b.example,c.example")
    assert world.served_names["a.example"] == ("a.example", "c.example")
    report = only(service)
    assert report.lost == ("b.example",)
    assert "the certificate lacks b.example: no certificate: b.example" in report.alarm
    assert report.next_step.reason == "b.example, which could not be validated, is tried again"
    world.pass_time(3 * DAY)
    assert {names for _, names in world.orders[2:]} == {("a.example", "b.example", "c.example")}
    assert len(world.orders) == 7, "0, then 1, 10, 100 minutes and days later"
    assert len(world.swaps) == 1
    world.answers["a.example"] = lambda names: world.certificate(*names)
    world.pass_time(1.1 * DAY)
    assert world.served_names["a.example"] == ("a.example", "b.example", "c.example")
    assert only(service).lost == ()
    assert only(service).alarm == ""


def test_the_first_name_is_lost(world: World) -> None:
    """The site keeps its name on disk; a restart orders nothing."""
    world.answers["b.example"] = world.answers["a.example"] = lose("a.example")(world)
    service = world.start("a.example,b.example")
    assert world.stored("a.example").names == {"b.example"}
    succeeded(service.stopService())
    world.start("a.example,b.example")
    assert world.served_names["a.example"] == ("b.example",)
    assert len(world.orders) == 2


def test_covered_names_are_not_dropped(world: World) -> None:
    """A name's DNS dies: the whole renews as a whole until the last tenth; then without, and both are served."""
    service = world.start("a.example,b.example")
    old = world.served["a.example"]
    world.answers["a.example"] = lose("b.example")(world)
    world.pass_time(80 * DAY)
    assert world.served["a.example"] is old
    assert {names for _, names in world.orders} == {("a.example", "b.example")}
    world.pass_time(2 * DAY)
    assert world.served["a.example"] is not old
    assert world.served_names["a.example"] == ("a.example",)
    assert world.served["a.example (older)"] is old
    assert world.served_names["a.example (older)"] == ("b.example",)
    assert only(service).lost == ("b.example",)
    succeeded(service.stopService())
    world.served.clear()
    world.start("a.example,b.example")
    assert world.served["a.example (older)"].leaf == old.leaf


def test_a_new_name_that_fails(world: World) -> None:
    """What is there goes on; no order is made without the new name."""
    succeeded(world.start("a.example").stopService())
    world.answers["a.example"] = lose("new.example")(world)
    service = world.start("a.example,new.example")
    assert len(world.orders) == 2
    assert only(service).lost == ("new.example",)
    assert only(service).state.failures == 0


def test_several_rounds(world: World) -> None:
    """A CA that tells one bad name at a time: each order is for fewer names, and not too many follow each other."""
    bad = [f"bad{number}.example" for number in range(9)]

    def one_at_a_time(names: Sequence[str]) -> Certificate:
        for name in names:
            if name in bad:
                raise OrderError(f"no: {name}", {name: Problem("rejectedIdentifier", "blocked")})
        return world.certificate(*names)

    world.answers["a.example"] = one_at_a_time
    world.start(",".join(["a.example", *bad]))
    assert world.served_names["a.example"] == ("a.example",)
    assert [len(names) for _, names in world.orders] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]


# The DNS


def test_dns_begins_to_lead_here(world: World) -> None:
    """After days of failures: tried at once when the name leads here, and only then."""
    addresses = {"a.example": frozenset({"198.51.100.9"})}
    looks = []

    def look(name: str) -> Deferred[frozenset[str]]:
        looks.append(name)
        return succeed(addresses[name])

    world.answers["a.example"] = raising(OrderError("no", {"a.example": DNS}))
    world.start("a.example", look=look, own_addresses=lambda: frozenset({"192.0.2.1"}))
    world.pass_time(2 * DAY)
    tried = len(world.orders)
    assert tried == 5
    assert len(looks) > 1000
    del world.answers["a.example"]
    addresses["a.example"] = frozenset({"192.0.2.1", "198.51.100.9"})
    world.pass_time(2 * MINUTE)
    assert "a.example" in world.served
    assert logged(world, "a.example: a.example now leads here: tried again")
    count = len(looks)
    world.pass_time(DAY)
    assert len(looks) == count, "nobody looks while all is well"


def test_dns_of_a_lost_name(world: World) -> None:
    """Only the lost name is watched, and hastened."""
    addresses = {"b.example": frozenset({"198.51.100.9"})}
    world.answers["a.example"] = lose("b.example")(world)
    world.start("a.example,b.example", look=lambda name: succeed(addresses[name]))
    world.pass_time(2 * DAY)
    del world.answers["a.example"]
    addresses["b.example"] = frozenset({"203.0.113.7"})
    world.pass_time(2 * MINUTE)
    assert world.served_names["a.example"] == ("a.example", "b.example")


Addresses = Callable[[int], Iterable[str]]


def failing(world: World, addresses: Addresses, limits: Limits = UNLIMITED, days: float = 2.0) -> list[float]:
    """When a site was ordered that cannot be validated, and whose name leads to ``addresses(minute)``."""

    def look(name: str) -> Deferred[frozenset[str]]:
        return succeed(frozenset(addresses(int(world.clock.seconds() // MINUTE))))

    world.limits = limits
    world.answers["a.example"] = raising(OrderError("no", {"a.example": DNS}))
    world.start("a.example", look=look, own_addresses=lambda: frozenset({"10.0.0.5"}))
    world.pass_time(days * DAY)
    return world.times("a.example")


@pytest.mark.parametrize("limits", [LETS_ENCRYPT, UNLIMITED])
def test_dns_that_changes_all_the_time(world: World, limits: Limits) -> None:
    """A name with load balancers in front: its addresses hasten an attempt after 5 minutes, 10 minutes, up to a day."""
    times = failing(world, lambda minute: {f"198.51.100.{minute % 200}"}, limits)
    assert len(times) <= 5 + 9
    assert logged(world, "a.example: a.example leads elsewhere than before: tried again")
    world.pass_time(5 * DAY)
    assert len(world.times("a.example")) - len(times) <= 2 * 5


def test_dns_that_leads_here_now_and_then(world: World) -> None:
    """Answers in which this machine is one of several, in turn, are no reason to try all the time either."""
    times = failing(world, lambda minute: {"10.0.0.5" if minute % 2 else "198.51.100.9"})
    assert len(times) <= 5 + 9


def test_dns_begins_to_lead_here_after_many_changes(world: World) -> None:
    """Foreign addresses that change all the time delay nothing: once it is this machine's own, it is tried at once."""
    arrival = 2 * DAY + 7 * MINUTE

    def addresses(minute: int) -> Iterable[str]:
        return {"10.0.0.5" if minute * MINUTE >= arrival else f"198.51.100.{minute % 200}"}

    times = failing(world, addresses)
    world.pass_time(9 * MINUTE)
    assert len(world.times("a.example")) == len(times) + 1
    assert logged(world, "a.example now leads here")


def test_dns_that_changes_while_it_is_quiet(world: World) -> None:
    """A change that comes too soon after the last one is tried when its time has come, if it is still so."""
    last = DAY + 2 * MINUTE

    def addresses(minute: int) -> Iterable[str]:
        now = minute * MINUTE
        return {"198.51.100.1" if now < DAY else "198.51.100.2" if now < last else "198.51.100.3"}

    times = [time for time in failing(world, addresses) if DAY - MINUTE <= time <= DAY + 20 * MINUTE]
    assert [time - DAY for time in times] == pytest.approx([0, 300], abs=2 * MINUTE)


def test_a_certificate_ends_the_quiet(world: World) -> None:
    """The next failures begin with five minutes again."""
    failing(world, lambda minute: {f"198.51.100.{minute % 200}"})
    del world.answers["a.example"]
    world.pass_time(2 * DAY)
    assert "a.example" in world.served
    world.answers["a.example"] = raising(OrderError("no", {"a.example": DNS}))
    before = len(world.orders)
    world.pass_time(61 * DAY)
    first, *others = world.times("a.example")[before:]
    assert len([time for time in others if time < first + HOUR]) >= 4, "2 without the changes"


def test_name_servers_that_fail(world: World) -> None:
    """They hasten nothing."""
    turns = iter(range(10**6))

    def look(name: str) -> Deferred[frozenset[str]]:
        failed = next(turns) % 3
        return fail(OSError("SERVFAIL")) if failed else succeed(frozenset({"198.51.100.9"}))

    world.answers["a.example"] = raising(OrderError("no", {"a.example": DNS}))
    world.start("a.example", look=look)
    world.pass_time(2 * DAY)
    assert len(world.times("a.example")) == 5


def test_ca_outage_is_not_about_dns(world: World) -> None:
    """Nobody watches names for a CA that is away."""
    world.answers["a.example"] = raising(DOWN)
    world.start("a.example", look=lambda name: pytest.fail("looked up"))
    world.pass_time(HOUR)


# Operators


def test_renew_what_is_fresh(world: World) -> None:
    """Refused with the reason, unless forced; the answer comes when it is done."""
    service = world.start("a.example,b.example")
    with pytest.raises(ApplianceError, match="nothing to do before 2027-02-28"):
        done(service.renew("b.example"))
    report = done(service.renew("b.example", force=True))
    assert len(world.orders) == 2
    assert report.serving is world.served["a.example"]
    world.pass_time(DAY)
    assert len(world.orders) == 2, "the wish is fulfilled"


def test_renew_what_has_failed(world: World) -> None:
    """The wait for failures is cut short; the report says how it went."""
    world.answers["a.example"] = raising(OrderError("no", {"a.example": DNS}))
    service = world.start("a.example")
    world.pass_time(DAY)
    tried = len(world.orders)
    report = done(service.renew("a.example"))
    assert len(world.orders) == tried + 1
    assert report.state.problem.startswith("no")


def test_renew_in_an_order(world: World) -> None:
    """Who asks in the middle of an order waits for its end."""
    world.answers["a.example"] = lambda names: Deferred()
    service = world.start("a.example", order_timeout=60)
    waiting = Deferred.fromCoroutine(service.renew("a.example"))
    assert not waiting.called
    world.pass_time(61)
    assert "not finished within 60 s" in succeeded(waiting).state.problem


def test_renew_lost_names(world: World) -> None:
    """They are what is tried."""
    world.answers["a.example"] = lose("b.example")(world)
    service = world.start("a.example,b.example")
    world.pass_time(HOUR)
    del world.answers["a.example"]
    assert done(service.renew("a.example")).lost == ()


def test_not_against_the_ca_s_word(world: World) -> None:
    """What the CA forbade stays forbidden, force or not."""
    world.answers["a.example"] = raising(AcmeProblemError(problem("rateLimited", "no", 7200.0), "new order"))
    service = world.start("a.example")
    with pytest.raises(ApplianceError, match="nothing to do before 2027-01-01 02:00:00"):
        done(service.renew("a.example", force=True))
    assert len(world.orders) == 1


def test_unknown_names(world: World) -> None:
    """Are no sites."""
    service = world.start("a.example")
    with pytest.raises(ApplianceError, match="is no name of a site"):
        done(service.renew("x.example"))
    with pytest.raises(ApplianceError, match="is no name of a site"):
        done(service.rollback("x.example"))


def test_rollback(world: World) -> None:
    """The previous certificate is stored and served, left alone for a day; once more, and the newer one is back."""
    service = world.start("a.example")
    first = world.served["a.example"]
    world.pass_time(61 * DAY)
    second = world.served["a.example"]
    report = done(service.rollback("a.example"))
    assert (report.state.authority, report.state.host) == ("", ""), "nobody has written down which CA it is from"
    assert world.stored("a.example").leaf == world.served["a.example"].leaf == first.leaf
    assert "an operator went back to the previous certificate; not before then" in report.next_step.reason
    world.pass_time(0.9 * DAY)
    assert len(world.orders) == 2
    done(service.rollback("a.example"))
    assert world.served["a.example"].leaf == second.leaf
    world.pass_time(DAY)
    assert len(world.orders) == 2


def test_force_ends_a_rollback(world: World) -> None:
    """Whoever went back may ask for a new certificate at once; without force the old one is left alone."""
    service = world.start("a.example")
    world.pass_time(61 * DAY)
    done(service.rollback("a.example"))
    with pytest.raises(ApplianceError, match="nothing to do before"):
        done(service.renew("a.example"))
    assert len(world.orders) == 2
    done(service.renew("a.example", force=True))
    assert len(world.orders) == 3


def test_rollback_is_renewed_in_the_end(world: World) -> None:
    """After a day of rest, an old certificate is due again; a restart in between changes nothing."""
    service = world.start("a.example")
    world.pass_time(61 * DAY)
    done(service.rollback("a.example"))
    succeeded(service.stopService())
    world.start("a.example")
    world.pass_time(0.9 * DAY)
    assert len(world.orders) == 2
    world.pass_time(0.2 * DAY)
    assert len(world.orders) == 3


def test_nothing_to_go_back_to(world: World) -> None:
    """No previous one, one that has expired, or a store that keeps none: refused, and nothing changes."""
    service = world.start("a.example")
    with pytest.raises(ApplianceError, match="no previous certificate"):
        done(service.rollback("a.example"))
    world.pass_time(61 * DAY)
    serving = world.served["a.example"]
    world.jump = 40 * DAY
    with pytest.raises(ApplianceError, match="expired at"):
        done(service.rollback("a.example"))
    assert world.served["a.example"] is serving
    plain = service._env
    service._env = evolve(plain, store=object())
    with pytest.raises(ApplianceError, match="no previous certificate"):
        done(service.rollback("a.example"))


def test_previous_that_cannot_be_read(world: World) -> None:
    """Is said."""
    service = world.start("a.example")
    (world.folder / "certificates" / "a.example.pem.previous").mkdir()
    with pytest.raises(ApplianceError, match="no previous certificate"):
        done(service.rollback("a.example"))
    assert logged(world, "its previous certificate cannot be read")


# Going on


def test_goes_on_with_its_order(world: World) -> None:
    """The CA goes away in the middle of an order: the next attempt goes on with it, with the same key."""
    world.answers["a.example"] = raising(AcmeConnectionError("order: closed"))
    world.start("a.example")
    del world.answers["a.example"]
    world.pass_time(10)
    assert "a.example" in world.served
    (resumed,) = world.resumed
    assert (resumed.url, resumed.key) == ("https://ca.example/order/1", "key")
    assert world.state("a.example").unfinished is None
    assert logged(world, "a.example: goes on with its order for a.example at ca")


def test_key_on_disk_is_private(world: World) -> None:
    """An unfinished order's key is kept in a file that nobody else can read, and is not printed."""
    world.answers["a.example"] = raising(AcmeConnectionError("order: closed"))
    service = world.start("a.example")
    path = world.folder / "renewal" / "a.example.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert '"key"' in path.read_text()
    assert "'key'" not in repr(only(service).state)


def test_old_orders_are_abandoned(world: World) -> None:
    """Names that have changed make another order, and give back what the old one was charged."""
    world.limits = LETS_ENCRYPT
    world.answers["a.example"] = raising(AcmeConnectionError("order: closed"))
    succeeded(world.start("a.example").stopService())
    del world.answers["a.example"]
    world.start("a.example,b.example")
    assert world.resumed == []
    assert 'names a.example"' not in (world.folder / "spending.json").read_text()


def test_turns(world: World) -> None:
    """Orders that hang hold their turn for less than a minute: the others are not kept waiting for their end."""
    for number in range(4):
        world.answers[f"hangs{number}.example"] = lambda names: Deferred()
    sites = [f"hangs{number}.example" for number in range(4)] + [f"good{number}.example" for number in range(20)]
    world.start(*sites, orders_at_once=2)
    world.pass_time(100)
    assert len(world.served) == 20


def test_store_that_is_not_ours(world: World) -> None:
    """``previous`` is our own store's: it gives what was there before, or KeyError."""
    store = CertificateStore(world.folder / "certificates", at_once, now=world.now)
    with pytest.raises(KeyError):
        done(store.previous("a.example"))
    assert only(world.start("a.example")).next_step.step is Step.WAIT
