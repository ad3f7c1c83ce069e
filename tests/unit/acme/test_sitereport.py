"""What somebody should look at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from attrs import evolve

from appliance.acme.ari import Inquiry, Suggestion
from appliance.acme.losses import Loss
from appliance.acme.sitereport import alarm
from appliance.acme.state import RenewalState
from appliance.errors import Problem
from tests.support.certificates import make_certificate

NOW = datetime(2027, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FRESH = make_certificate(["a.test"], not_before=NOW, not_after=NOW + 90 * DAY)
PAST = Suggestion(NOW - 2 * DAY, NOW - DAY, NOW - DAY, NOW, overdue=True)


def test_nothing() -> None:
    """A fresh certificate, or none yet."""
    assert alarm(FRESH, RenewalState(), NOW) == alarm(None, RenewalState(), NOW) == ""


def test_ending() -> None:
    """The last tenth, with what went wrong."""
    state = RenewalState(problem="the CA's own words")
    assert alarm(FRESH, state, NOW + 82 * DAY) == "the certificate ends at 2027-08-30 00:00:00 UTC: the CA's own words"


def test_overdue() -> None:
    """The CA's own explanation, or a guess."""
    state = RenewalState(inquiry=Inquiry(f"{FRESH.serial:x}", NOW, PAST))
    assert alarm(FRESH, state, NOW) == "the CA wants the certificate replaced at once: it may be revoked"
    explained = evolve(state, inquiry=Inquiry(f"{FRESH.serial:x}", NOW, evolve(PAST, explanation="https://ca.test")))
    assert alarm(FRESH, explained, NOW).endswith("at once: https://ca.test")


def test_lost_names() -> None:
    """Which, and why."""
    state = RenewalState(losses=(Loss("b.test", 1, Problem("dns", "no"), NOW),), problem="NXDOMAIN")
    assert alarm(FRESH, state, NOW) == "the certificate lacks b.test: NXDOMAIN"
