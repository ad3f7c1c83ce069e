"""How attempts are made, and what follows from their failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from appliance.acme.ari import Inquiry, Suggestion, certificate_id
from appliance.acme.decision import Situation
from appliance.acme.failure import Blame, Trouble
from appliance.acme.fallback import AuthorityRecord
from appliance.acme.losses import Loss
from appliance.acme.plan import REDUCTIONS, Plan, after_failure, plan_order
from appliance.acme.request import Unfinished
from appliance.acme.state import RenewalState
from appliance.errors import Problem
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate
from tests.support.demo_ca import World

NOW = datetime(2027, 6, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NAMES = ("a.test", "b.test")
CAS = ("first", "second")
DNS = Problem("dns", "NXDOMAIN")
ORDER = Unfinished("first", NAMES, "key", NOW - HOUR, url="https://ca.test/order/1")
BEGUN = RenewalState().begin(NAMES, NOW, NOW + MINUTE)


def certificate(*names: str, left: int = 20) -> Certificate:
    return make_certificate(names or NAMES, not_before=NOW - (90 - left) * DAY, not_after=NOW + left * DAY)


def middle() -> float:
    return 0.5


def after(state: RenewalState, trouble: Trouble, names: tuple[str, ...] = NAMES, **fields: Any) -> RenewalState:
    situation = Situation(NAMES, state, **fields)
    return after_failure(situation, Plan("first", names), trouble, CAS, NOW, middle)


# Planning


def test_a_first_order() -> None:
    """All names, of the first CA, in place of nothing."""
    assert plan_order(Situation(NAMES), CAS, NOW) == Plan("first", NAMES)


def test_without_the_lost_ones() -> None:
    """A name whose time has not come is left out."""
    state = RenewalState(losses=(Loss("b.test", 1, DNS, NOW + HOUR),))
    assert plan_order(Situation(NAMES, state), CAS, NOW).names == ("a.test",)


def test_going_on() -> None:
    """With an order of the same CA for the same names that is not too old, and that the CA is known to have."""
    assert plan_order(Situation(NAMES, RenewalState(unfinished=ORDER)), CAS, NOW).unfinished is ORDER
    for other in (
        evolve(ORDER, url=None),
        evolve(ORDER, names=("a.test",)),
        evolve(ORDER, authority="second"),
        evolve(ORDER, began=NOW - 2 * DAY),
        evolve(ORDER, began=NOW + 2 * DAY),
    ):
        assert plan_order(Situation(NAMES, RenewalState(unfinished=other)), CAS, NOW).unfinished is None


def test_replacing() -> None:
    """What the same CA knows is named in the order; what it does not, or another CA issued, is not."""
    leaf = World().issue("a.test", "b.test")
    old = Certificate(certificate().key, leaf)
    suggestion = Suggestion(NOW, NOW, NOW, NOW)
    state = RenewalState(authority="first", inquiry=Inquiry(f"{old.serial:x}", NOW, suggestion))
    assert plan_order(Situation(NAMES, state, serving=old), CAS, NOW).replaces == certificate_id(leaf)
    for other in (
        evolve(state, authority="second"),
        evolve(state, inquiry=Inquiry(f"{old.serial:x}", NOW)),
        evolve(state, inquiry=Inquiry("5", NOW, suggestion)),
        evolve(state, inquiry=None),
    ):
        assert plan_order(Situation(NAMES, other, serving=old), CAS, NOW).replaces is None


def test_replacing_by_host() -> None:
    """The same CA by another name knows it; another CA that has taken over the name does not."""
    old = Certificate(certificate().key, World().issue("a.test", "b.test"))
    inquiry = Inquiry(f"{old.serial:x}", NOW, Suggestion(NOW, NOW, NOW, NOW))

    def planned(name: str, host: str) -> Plan:
        state = RenewalState(authority=name, host=host, inquiry=inquiry)
        return plan_order(Situation(NAMES, state, serving=old, authorities={"first": "first.test"}), CAS, NOW)

    assert planned("renamed", "first.test") == Plan("first", NAMES, certificate_id(old.leaf), host="first.test")
    assert planned("first", "staging.test").replaces is None


# Failing


def test_as_a_whole() -> None:
    """The ladder; what the CA said is kept; the order is dropped."""
    trouble = Trouble("no", Blame.NAMES, DNS, dict.fromkeys(NAMES, DNS))
    state = after(evolve(BEGUN, unfinished=ORDER), trouble)
    assert (state.next_attempt, state.problem, state.document, state.unfinished) == (NOW + MINUTE, "no", DNS, None)
    assert (state.failures, state.running, state.losses) == (1, False, ())
    assert state.history[-1].outcome == "no"
    assert state.authorities["first"] == AuthorityRecord()


def test_order_is_kept() -> None:
    """If the CA has it, and nothing is wrong with it."""
    gone = Trouble("away", Blame.CA, unreachable=True, keeps_order=True)
    assert after(evolve(BEGUN, unfinished=ORDER), gone).unfinished is ORDER
    assert after(evolve(BEGUN, unfinished=evolve(ORDER, url=None)), gone).unfinished is None
    assert after(BEGUN, gone).unfinished is None


def test_spoiled_while_it_was_interrupted() -> None:
    """Another for all names, if names failed and the order was gone on with; at once, if nothing failed before."""
    interrupted = Plan("first", NAMES, unfinished=ORDER)
    trouble = Trouble("no", Blame.NAMES, DNS, {"a.test": DNS})
    state = evolve(BEGUN, unfinished=ORDER)

    def following(state: RenewalState, plan: Plan, trouble: Trouble) -> RenewalState:
        return after_failure(Situation(NAMES, state), plan, trouble, CAS, NOW, middle)

    found = following(state, interrupted, trouble)
    assert (found.next_attempt, found.unfinished, found.losses, found.failures) == (None, None, (), 1)
    assert found.problem == "no The order had been interrupted, and nobody answered the CA meanwhile."
    unreached = evolve(state, failures=3, unreached=2)
    assert following(unreached, interrupted, trouble) == evolve(found, failures=3, unreached=2)
    crashed = following(evolve(state, failures=2), interrupted, trouble)
    assert crashed == evolve(found, failures=2, next_attempt=NOW + 10 * MINUTE, authorities=crashed.authorities)
    reduced = following(state, Plan("first", NAMES), trouble)
    assert (reduced.problem, reduced.next_attempt, reduced.losses[0].name) == ("no", None, "a.test")
    nameless = following(state, interrupted, evolve(trouble, names={}))
    assert (nameless.problem, nameless.next_attempt) == ("no", NOW + MINUTE)


def test_reduced() -> None:
    """One name fails: the others go on at once, without it."""
    state = after(BEGUN, Trouble("no b", Blame.NAMES, DNS, {"b.test": DNS}))
    assert (state.next_attempt, state.running, state.losses) == (None, False, (Loss("b.test", 1, DNS, NOW + MINUTE),))
    assert plan_order(Situation(NAMES, state), CAS, NOW).names == ("a.test",)


def test_not_at_once_for_ever() -> None:
    """After a few such orders in a row, the usual waits apply."""
    trouble = Trouble("no b", Blame.NAMES, DNS, {"b.test": DNS})
    assert after(evolve(BEGUN, failures=REDUCTIONS), trouble).next_attempt is None
    assert after(evolve(BEGUN, failures=REDUCTIONS + 1), trouble).next_attempt == NOW + MINUTE


def test_lost_again() -> None:
    """The others are covered: nothing is to be done for them, and nothing has failed for them."""
    losses = (Loss("b.test", 2, DNS, NOW),)
    state = after(
        evolve(BEGUN, losses=losses), Trouble("no b", Blame.NAMES, DNS, {"b.test": DNS}), serving=certificate("a.test")
    )
    assert (state.failures, state.next_attempt) == (0, None)
    assert state.losses == (Loss("b.test", 3, DNS, NOW + 100 * MINUTE),)


def test_covered_names_are_not_given_up() -> None:
    """While a valid certificate has the name, its failure is the whole order's; in the last tenth no longer."""
    trouble = Trouble("no b", Blame.NAMES, DNS, {"b.test": DNS})
    whole = after(BEGUN, trouble, serving=certificate())
    assert (whole.next_attempt, whole.losses) == (NOW + MINUTE, ())
    assert after(BEGUN, trouble, serving=certificate(left=5)).next_attempt is None


def test_failure_of_a_name_that_was_not_asked_for() -> None:
    """What a CA says of other names changes nothing."""
    state = after(BEGUN, Trouble("odd", Blame.NAMES, DNS, {"c.test": DNS}))
    assert state.losses == ()
    assert state.next_attempt == NOW + MINUTE


def test_a_limit_of_the_whole_account() -> None:
    """All others go first: up to a minute later than the CA says."""
    trouble = Trouble("slow down", Blame.LIMIT, retry_after=7200.0, whole_account=True)
    assert after(BEGUN, trouble, serving=certificate()).next_attempt == NOW + 121 * MINUTE
    short = after(BEGUN, evolve(trouble, retry_after=60.0), serving=certificate())
    assert short.next_attempt == NOW + timedelta(seconds=66)


def test_a_limit() -> None:
    """To the second, and no other CA while the certificate lasts."""
    trouble = Trouble("slow down", Blame.LIMIT, retry_after=7200.0, keeps_order=True)
    state = after(BEGUN, trouble, serving=certificate())
    assert (state.next_attempt, state.retry_after) == (NOW + 2 * HOUR, True)
    assert state.authorities["first"] == AuthorityRecord(until=NOW + 2 * HOUR)


def test_a_limit_without_a_certificate() -> None:
    """Another CA is asked at once; without its time, a limit is a failure like others."""
    state = after(BEGUN, Trouble("slow down", Blame.LIMIT, retry_after=7200.0))
    assert (state.next_attempt, state.retry_after) == (None, False)
    assert plan_order(Situation(NAMES, state), CAS, NOW).authority == "second"
    assert after(BEGUN, Trouble("slow down", Blame.LIMIT)).authorities["first"].failures == 1


def test_falling_back() -> None:
    """The third failure by the CA's fault, without a certificate: the second CA, at once when it is its first turn."""
    state = evolve(BEGUN, failures=9, authorities={"first": AuthorityRecord(2, NOW)})
    fallen = after(state, Trouble("away", Blame.CA, unreachable=True))
    assert fallen.next_attempt is None
    assert plan_order(Situation(NAMES, fallen), CAS, NOW).authority == "second"
    again = evolve(state, authorities={**state.authorities, "second": AuthorityRecord(2, NOW)})
    assert after(again, Trouble("away", Blame.CA, unreachable=True)).next_attempt == NOW + 5 * timedelta(seconds=1)


def test_outages_do_not_count() -> None:
    """After two hundred attempts that did not reach the CA, the first refusal is a first failure."""
    state = BEGUN
    for _ in range(200):
        state = after(state, Trouble("away", Blame.CA, unreachable=True)).begin(NAMES, NOW, NOW)
    assert (state.failures, state.unreached) == (201, 200)
    assert after(state, Trouble("no", Blame.NAMES), serving=certificate()).next_attempt == NOW + MINUTE


def test_our_own_fault() -> None:
    """Is not blamed on the CA."""
    state = after(BEGUN, Trouble("disk full", Blame.OURS, unreachable=True))
    assert state.authorities["first"] == AuthorityRecord()
    assert state.next_attempt == NOW + 5 * timedelta(seconds=1)


@pytest.mark.parametrize("serving", [None, certificate("a.test"), certificate(left=-1)])
def test_unsuitable_certificates_are_no_reason_to_wait(serving: Certificate | None) -> None:
    """Expired, or without all names: as if there were none."""
    state = evolve(BEGUN, authorities={"first": AuthorityRecord(3, NOW)})
    assert plan_order(Situation(NAMES, state, serving=serving), CAS, NOW).authority == "second"
