"""When somebody has to be told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from appliance.acme.state import RenewalState
from appliance.ops.alarm.concern import (
    AGAIN,
    UNSENT,
    Concern,
    Message,
    Told,
    concern,
    last_safe_moment,
    to_tell,
    unsent,
)
from appliance.ops.status.document import AfterSwap
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate
from tests.support.reports import NOW, MadeReport

DAY = timedelta(days=1)
FAILED = RenewalState(failures=5, problem="the CA said no")
BAD = Concern("late", "is overdue")


def certificate(left: timedelta, life: timedelta = 90 * DAY) -> Certificate:
    """One that has so much left."""
    return make_certificate(["one.test"], not_before=NOW + left - life, not_after=NOW + left)


@pytest.mark.parametrize(
    ("life", "safe"), [(90 * DAY, 15 * DAY), (45 * DAY, 7.5 * DAY), (timedelta(hours=160), timedelta(hours=40))]
)
def test_the_last_safe_moment(life: timedelta, safe: timedelta) -> None:
    """Half of the time that there is for renewal."""
    made = certificate(safe, life)
    assert abs(last_safe_moment(made) - NOW) < timedelta(seconds=2)


@pytest.mark.parametrize(
    ("report", "after_swap", "kind"),
    [
        (MadeReport(serving=certificate(30 * DAY), state=FAILED), AfterSwap(), None),
        (MadeReport(serving=certificate(14 * DAY), state=FAILED), AfterSwap(), "late"),
        (MadeReport(serving=certificate(8 * DAY), state=FAILED), AfterSwap(), "expiring"),
        (MadeReport(serving=certificate(-DAY), state=FAILED), AfterSwap(), "expired"),
        (MadeReport(serving=None), AfterSwap(), None),
        (MadeReport(serving=None, state=FAILED), AfterSwap(), "missing"),
        (MadeReport(serving=certificate(60 * DAY), saved=False), AfterSwap(), "unsaved"),
        (MadeReport(serving=certificate(60 * DAY)), AfterSwap(problem="another"), "wire"),
        (MadeReport(serving=certificate(60 * DAY), alarm="it lacks names"), AfterSwap(), "other"),
        (MadeReport(serving=certificate(60 * DAY)), AfterSwap(export="the hook failed"), "export"),
    ],
)
def test_what_is_wrong(report: MadeReport, after_swap: AfterSwap, kind: str | None) -> None:
    """The worst that is, and the reason with it."""
    found = concern(report, after_swap, NOW)
    assert (found.kind if found else None) == kind
    if found is not None and report.state.problem:
        assert "the CA said no" in found.text


def test_no_reason_is_said_so() -> None:
    """A renewal that has never been tried."""
    found = concern(MadeReport(serving=certificate(DAY)), AfterSwap(), NOW)
    assert found is not None
    assert "no attempt has failed" in found.text


def test_told_at_once_then_daily_then_when_it_is_over() -> None:
    """And only once when it is over."""
    messages, known = to_tell({}, {"a": BAD}, ["a", "b"], NOW)
    assert messages == [Message("a", False, "late", "is overdue", NOW)]
    messages, known = to_tell(known, {"a": Concern("expired", "has expired")}, ["a"], NOW + AGAIN / 2)
    assert messages == []
    assert known["a"].kind == "expired"
    messages, known = to_tell(known, {"a": BAD}, ["a"], NOW + AGAIN)
    assert [message.since for message in messages] == [NOW]
    messages, known = to_tell(known, {}, ["a"], NOW + 2 * AGAIN)
    assert messages == [Message("a", True, "late", "is well again", NOW)]
    assert to_tell(known, {}, ["a"], NOW + 3 * AGAIN) == ([], {})


def test_what_could_not_be_sent_is_sent_later() -> None:
    """After a while; and what nobody was told of needs no all-clear."""
    (message,), known = to_tell({}, {"a": BAD}, ["a"], NOW)
    known = {"a": unsent(None, message, NOW)}
    assert to_tell(known, {"a": BAD}, ["a"], NOW + UNSENT / 2)[0] == []
    assert len(to_tell(known, {"a": BAD}, ["a"], NOW + UNSENT)[0]) == 1
    assert to_tell(known, {}, ["a"], NOW + UNSENT) == ([], {})


def test_a_repetition_that_could_not_be_sent() -> None:
    """Is tried again soon, and the first one still counts as told."""
    told = Told("late", NOW, NOW, NOW)
    later = NOW + AGAIN
    (message,), _ = to_tell({"a": told}, {"a": BAD}, ["a"], later)
    known = {"a": unsent(told, message, later)}
    assert to_tell(known, {"a": BAD}, ["a"], later + UNSENT / 2)[0] == []
    assert len(to_tell(known, {"a": BAD}, ["a"], later + UNSENT)[0]) == 1
    assert len(to_tell(known, {}, ["a"], later + UNSENT)[0]) == 1


def test_a_clock_that_was_set_back_silences_nobody() -> None:
    """What was sent in the future counts for nothing."""
    told = Told("late", NOW + 30 * DAY, NOW + 30 * DAY, NOW + 30 * DAY)
    assert len(to_tell({"a": told}, {"a": BAD}, ["a"], NOW)[0]) == 1


def test_sites_that_are_no_more_are_forgotten() -> None:
    """Without a word."""
    assert to_tell({"a": Told("late", NOW, NOW, NOW)}, {}, ["b"], NOW) == ([], {})
