"""What to do next for one site."""

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from appliance.acme.ari import Inquiry, Suggestion
from appliance.acme.decision import CLOCK_WATCH, Situation, Step, Stock, choose, covered, decide
from appliance.acme.losses import Loss
from appliance.acme.schedule import SKEW
from appliance.acme.state import RenewalState
from appliance.errors import Problem
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate, make_key

NOW = datetime(2027, 6, 1, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
NAMES = ("a.example", "b.example")


@cache
def certificate(names: tuple[str, ...] = NAMES, begun: float = 10, left: float = 80) -> Certificate:
    """One that began ``begun`` days ago and has ``left`` days left."""
    return make_certificate(names, not_before=NOW - begun * DAY, not_after=NOW + left * DAY)


FRESH, OLD, EXPIRING = certificate(), certificate(begun=70, left=20), certificate(begun=89, left=1)
EXPIRED = certificate(begun=91, left=-1)
FUTURE = certificate(begun=-1, left=89)
FAILED = RenewalState(names=NAMES, last_attempt=NOW - HOUR, failures=2, problem="no", next_attempt=NOW + HOUR)


def check(situation: Situation, step: Step, at: datetime = NOW, reason: str = "") -> None:
    action = decide(situation, NOW)
    assert (action.step, action.at) == (step, at)
    assert reason in action.reason


def test_nothing_yet() -> None:
    """Without a certificate, one is ordered now."""
    check(Situation(NAMES), Step.RENEW, reason="there is no certificate")


def test_stored_one_is_served_first() -> None:
    """Even if it is due or does not cover everything."""
    for stored in (FRESH, OLD, EXPIRING, certificate(("a.example",))):
        check(Situation(NAMES, stored=stored), Step.INSTALL, reason="to be served")


def test_fresh_one_waits() -> None:
    """Until a third of its life is left."""
    check(Situation(NAMES, stored=FRESH, serving=FRESH), Step.WAIT, NOW + 50 * DAY, "a third")


def test_from_a_trial() -> None:
    """Now, unless it has failed lately; the host of its directory tells which one it is."""
    state = RenewalState(authority="ca", host="staging.test")
    situation = Situation(NAMES, state, serving=FRESH, stored=FRESH, authorities={"ca": "ca.test"})
    check(situation, Step.RENEW, reason="is from staging.test, which is no longer configured for this site")
    named = evolve(situation, state=evolve(state, authority="staging", host=""))
    check(named, Step.RENEW, reason="is from staging, which")
    failed = evolve(situation, state=evolve(FAILED, authority="ca", host="staging.test"))
    check(failed, Step.WAIT, NOW + HOUR, "is from staging.test, which")


def test_from_a_ca_that_is_configured() -> None:
    """As usual: the first one, a fallback, one called something else by now, and one that nobody knows."""
    situation = Situation(NAMES, serving=FRESH, authorities={"ca": "ca.test", "second": "second.test"})
    for state in (
        RenewalState(authority="ca", host="ca.test"),
        RenewalState(authority="second"),
        RenewalState(authority="before", host="second.test"),
        RenewalState(authority="ca.test"),
        RenewalState(),
    ):
        check(evolve(situation, state=state), Step.WAIT, NOW + 50 * DAY, "a third")


def test_from_a_ca_whose_certificates_are_good() -> None:
    """It stays until it is due, where another CA is configured now, be that one to try things out with."""
    situation = Situation(NAMES, serving=FRESH, authorities={"ca": "acme-staging.test"})
    for state in (RenewalState(authority="ca", host="acme.test"), RenewalState(authority="acme.test")):
        check(evolve(situation, state=state), Step.WAIT, NOW + 50 * DAY, "a third")


def test_from_a_trial_but_replaced() -> None:
    """What is known of the old one says nothing about the new one, which only has to be written."""
    state = RenewalState(authority="staging")
    later = NOW + HOUR
    check(
        Situation(NAMES, state, serving=OLD, stored=OLD, unsaved=FRESH, store_again=later, authorities={"ca": ""}),
        Step.WAIT,
        later,
        "could not be saved",
    )


def test_short_one_waits() -> None:
    """Until half of its life is left."""
    short = certificate(begun=1, left=5)
    check(Situation(NAMES, stored=short, serving=short), Step.WAIT, NOW + 2 * DAY, "half")


def test_due() -> None:
    """With less than a third left, it is renewed now; and when it has expired, of course."""
    check(Situation(NAMES, stored=OLD, serving=OLD), Step.RENEW)
    check(Situation(NAMES, stored=EXPIRED, serving=EXPIRED), Step.RENEW, reason="expired at 2027-05-31 00:00:00 UTC")


def test_expired_one_is_not_put_into_service() -> None:
    """A new one is ordered at once."""
    check(Situation(NAMES, stored=EXPIRED), Step.RENEW, reason="expired")


def test_name_added() -> None:
    """A certificate that lacks a name is replaced now."""
    one = certificate(("a.example",))
    check(Situation(NAMES, stored=one, serving=one), Step.RENEW, reason="does not cover b.example")


def test_served_but_lost_from_the_store() -> None:
    """What is in service counts, if nothing else is known."""
    check(Situation(NAMES, serving=FRESH), Step.WAIT, NOW + 50 * DAY)


def test_failures_postpone() -> None:
    """No attempt before the time that the failures allow; the reason says both."""
    action = decide(Situation(NAMES, FAILED), NOW)
    assert (action.step, action.at) == (Step.WAIT, NOW + HOUR)
    assert action.reason == "there is no certificate; after 2 failures in a row not before then"
    interrupted = Situation(NAMES, evolve(FAILED, failures=0))
    assert decide(interrupted, NOW).reason.endswith("; the last attempt was interrupted; not before then")
    assert "1 failure in" in decide(Situation(NAMES, evolve(FAILED, failures=1)), NOW).reason


def test_failures_do_not_hasten() -> None:
    """A failure before does not make a fresh certificate due."""
    check(Situation(NAMES, FAILED, stored=FRESH, serving=FRESH), Step.WAIT, NOW + 50 * DAY, "a third")


def test_wait_is_over() -> None:
    """After the wait, the next attempt."""
    check(Situation(NAMES, evolve(FAILED, next_attempt=NOW)), Step.RENEW)


@pytest.mark.parametrize(
    "state",
    [
        evolve(FAILED, names=("a.example",)),
        evolve(FAILED, last_attempt=NOW + SECOND),
        evolve(FAILED, next_attempt=NOW + 9 * DAY),
        evolve(FAILED, next_attempt=None),
    ],
    ids=["other names", "clock set back", "beyond reason", "none"],
)
def test_waits_that_mean_nothing(state: RenewalState) -> None:
    """A wait for other names, from a clock set back since, or longer than any, is not kept."""
    check(Situation(NAMES, state), Step.RENEW)


def test_first_attempt_time_unknown() -> None:
    """A wait without the time of an attempt is kept."""
    check(Situation(NAMES, evolve(FAILED, last_attempt=None)), Step.WAIT, NOW + HOUR)


def test_unsaved_is_stored_first() -> None:
    """A new certificate is written before anything else, whatever is in service."""
    for serving in (None, FRESH, OLD, EXPIRED):
        check(Situation(NAMES, serving=serving, stored=serving, unsaved=FRESH), Step.STORE)
    check(Situation(NAMES, unsaved=FRESH, store_again=NOW), Step.STORE)


def test_unsavable_waits_while_the_old_one_lasts() -> None:
    """The old one serves on until the next try to save."""
    situation = Situation(NAMES, serving=OLD, stored=OLD, unsaved=FRESH, store_again=NOW + HOUR)
    check(situation, Step.WAIT, NOW + HOUR, "could not be saved")


@pytest.mark.parametrize("serving", [None, EXPIRING, EXPIRED, certificate(("a.example",)), FUTURE])
def test_unsavable_is_served_where_the_old_one_will_not_do(serving: Certificate | None) -> None:
    """About to expire, expired, lacking a name, none at all: the unsaved one is better."""
    situation = Situation(NAMES, serving=serving, stored=serving, unsaved=FRESH, store_again=NOW + HOUR)
    check(situation, Step.INSTALL, reason="not saved, but")


def test_unsavable_in_service() -> None:
    """Served without being saved, it is only tried again to save it; one day it is due itself."""
    situation = Situation(NAMES, serving=FRESH, unsaved=FRESH, store_again=NOW + HOUR)
    check(situation, Step.WAIT, NOW + HOUR, "could not be saved")
    check(evolve(situation, store_again=NOW + 60 * DAY), Step.WAIT, NOW + 50 * DAY, "a third")
    check(Situation(NAMES, serving=OLD, unsaved=OLD, store_again=NOW + HOUR), Step.RENEW)


def test_not_valid_yet() -> None:
    """The clock is wrong, most likely: no order; it is served once its time has come, which may be today's jump."""
    check(Situation(NAMES, stored=FUTURE), Step.WAIT, NOW + DAY - SKEW, "is the clock right?")


def test_clock_is_watched() -> None:
    """While nothing is served for it; else the usual look will do, and one that is to come sooner is kept."""
    down = Situation(NAMES, stored=FUTURE)
    assert decide(down, NOW).look == NOW + CLOCK_WATCH
    assert decide(evolve(down, serving=OLD), NOW).look == NOW + DAY - SKEW
    assert decide(down, NOW + DAY - SKEW - SECOND).look == NOW + DAY - SKEW


@given(
    stored=st.sampled_from([None, FRESH, OLD, EXPIRING, EXPIRED, FUTURE, certificate(("a.example",))]),
    serving=st.sampled_from([None, FRESH, OLD, EXPIRED]),
    unsaved=st.sampled_from([None, FRESH, OLD]),
    state=st.sampled_from([RenewalState(), FAILED, evolve(FAILED, next_attempt=NOW - HOUR)]),
    store_again=st.sampled_from([None, NOW - HOUR, NOW + HOUR]),
    spread=st.floats(0, 1),
)
def test_always_sane(**fields: object) -> None:
    """A wait lies in the future, everything else is possible: something to store, or to serve that is not expired."""
    situation = Situation(NAMES, **fields)
    action = decide(situation, NOW)
    assert (action.at > NOW) == (action.step is Step.WAIT)
    if action.step is Step.STORE:
        assert situation.unsaved is not None
    if action.step is Step.INSTALL:
        newest = situation.unsaved or situation.stored
        assert newest is not None
        assert newest is not situation.serving
        assert newest.not_after > NOW


def test_choose_by_cover_dates_and_end() -> None:
    """Valid ones first, then most names, then the later end, whatever order they come in."""
    one, wildcard = certificate(("a.example",), left=85), certificate(("*.example",))
    assert choose(NAMES, Stock([one, OLD, FRESH]), NOW) is FRESH
    assert choose(NAMES, Stock([one]), NOW) is one
    assert choose(NAMES, Stock([one, wildcard]), NOW) is wildcard
    assert choose(NAMES, Stock([FUTURE, EXPIRING]), NOW) is EXPIRING
    assert choose(NAMES, Stock([FUTURE]), NOW) is FUTURE
    assert choose(["A.Example"], Stock([wildcard, one]), NOW) is one


def test_choose_nothing() -> None:
    """Not an expired one, not one for other names, not one whose key is another's."""
    swapped = Certificate(make_key(), FRESH.leaf)
    other = certificate(("c.example",))
    assert choose(NAMES, Stock([EXPIRED, swapped, other]), NOW) is None
    assert choose(NAMES, Stock([]), NOW) is None


def test_stock_finds_by_name() -> None:
    """A certificate is found by each of its names, by what its wildcard covers, and once however many it covers."""
    two, wildcard = certificate(("a.example", "b.example")), certificate(("*.example",))
    stock = Stock([two, wildcard])
    assert stock.covering(["a.example", "b.example"]) == [two, wildcard]
    assert stock.covering(["*.example"]) == [wildcard]
    assert stock.covering(["example", "c.b.example", "localhost"]) == []


def test_covered() -> None:
    """The names that a certificate covers, in the site's order."""
    assert covered(certificate(("b.example",)), NAMES) == ("b.example",)


# Renewal information


def asked(serving: Certificate, suggestion: Suggestion | None, again: timedelta = HOUR) -> Situation:
    state = RenewalState(inquiry=Inquiry(f"{serving.serial:x}", NOW + again, suggestion))
    return Situation(NAMES, state, stored=serving, serving=serving, asks=True)


def suggestion(start: timedelta, *, overdue: bool = False, heard: timedelta = HOUR) -> Suggestion:
    """A window of two days whose middle was drawn."""
    return Suggestion(NOW + start, NOW + start + 2 * DAY, NOW + start + DAY, NOW - heard, overdue)


def test_asks_first() -> None:
    """A certificate that nobody was asked about is asked about before anything is ordered; an expired one is not."""
    check(Situation(NAMES, stored=OLD, serving=OLD, asks=True), Step.ASK)
    check(Situation(NAMES, stored=EXPIRED, serving=EXPIRED, asks=True), Step.RENEW)
    check(Situation(NAMES, asks=True), Step.RENEW)
    other = evolve(asked(FRESH, None), stored=OLD, serving=OLD)
    check(other, Step.ASK)


def test_asks_in_turn() -> None:
    """In its turn among many sites, unless a renewal is due, or the turn is from before the clock was set back."""
    waiting = Situation(NAMES, stored=FRESH, serving=FRESH, asks=True, ask_from=NOW + HOUR)
    assert decide(waiting, NOW).look == NOW + HOUR
    check(evolve(waiting, stored=OLD, serving=OLD), Step.ASK)
    check(evolve(waiting, ask_from=NOW - HOUR), Step.ASK)
    check(evolve(waiting, ask_from=NOW + 30 * DAY), Step.ASK)


def test_asks_again() -> None:
    """At the time that was set, unless the clock was set back since; the wait is cut short for it."""
    check(asked(FRESH, None, again=timedelta(0)), Step.ASK)
    check(asked(FRESH, None, again=3 * DAY), Step.ASK)
    action = decide(asked(FRESH, None), NOW)
    assert (action.step, action.at, action.look) == (Step.WAIT, NOW + 50 * DAY, NOW + HOUR)
    assert decide(asked(EXPIRING, suggestion(DAY), again=11 * HOUR), NOW).step is Step.RENEW


def test_suggested_moment() -> None:
    """It goes before the certificate's age, both ways, but not beyond the last safe moment."""
    check(asked(FRESH, suggestion(5 * DAY)), Step.WAIT, NOW + 6 * DAY, "from 2027-06-06 00:00 to 2027-06-08 00:00 UTC")
    check(asked(OLD, suggestion(DAY)), Step.WAIT, NOW + 2 * DAY, "suggests")
    check(asked(FRESH, suggestion(75 * DAY)), Step.WAIT, NOW + 62 * DAY, "suggests")
    check(asked(FRESH, suggestion(-DAY)), Step.RENEW, reason="suggests")


def test_overdue_window() -> None:
    """At once, and the reason says so."""
    check(asked(FRESH, suggestion(-9 * DAY, overdue=True)), Step.RENEW, reason="its window was over already")


def test_no_endless_row_of_orders() -> None:
    """A CA that wants even the newest certificate replaced has to wait for a day."""
    newest = certificate(begun=0, left=90)
    check(asked(newest, suggestion(-9 * DAY, overdue=True)), Step.WAIT, NOW + DAY, "its window was over already")


def test_suggestion_grows_old() -> None:
    """A CA that has not answered for days has lost its say."""
    check(asked(FRESH, suggestion(5 * DAY, heard=3 * DAY)), Step.WAIT, NOW + 50 * DAY, "a third")


# Lost names, operators, clocks


def test_lost_name_is_tried_again() -> None:
    """What is in service lacks it: nothing before its time, then all names."""
    one = certificate(("a.example",))
    loss = Loss("b.example", 1, Problem("dns", "NXDOMAIN"), NOW + HOUR)
    situation = Situation(NAMES, RenewalState(losses=(loss,)), stored=one, serving=one)
    check(situation, Step.WAIT, NOW + HOUR, "b.example, which could not be validated, is tried again")
    due = evolve(situation, state=RenewalState(losses=(evolve(loss, next_attempt=NOW),)))
    check(due, Step.RENEW, reason="does not cover b.example")


def test_demanded() -> None:
    """An operator's wish makes it due, but does not lift what the CA said."""
    wish = Situation(NAMES, stored=FRESH, serving=FRESH, demanded="because")
    check(wish, Step.RENEW, reason="because")
    limited = evolve(FAILED, retry_after=True)
    check(evolve(wish, state=limited), Step.WAIT, NOW + HOUR, "because; after 2 failures in a row not before then")


def test_words_for_waits_without_failures() -> None:
    """What a budget or an operator said is told instead."""
    held = RenewalState(names=NAMES).hold(NOW + HOUR, "4 are enough;", NOW)
    check(Situation(NAMES, held), Step.WAIT, NOW + HOUR, "there is no certificate; 4 are enough; not before then")


def test_gathered() -> None:
    """After a jump of the clock what is due is spread; a wish is not, nor is a time beyond reason kept."""
    jumped = Situation(NAMES, stored=OLD, serving=OLD, gathered=NOW + HOUR)
    check(jumped, Step.WAIT, NOW + HOUR, "the clock has jumped")
    check(evolve(jumped, demanded="because"), Step.RENEW)
    check(evolve(jumped, gathered=NOW - HOUR), Step.RENEW)
    check(evolve(jumped, gathered=NOW + 300 * DAY), Step.RENEW)
