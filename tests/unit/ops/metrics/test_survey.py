"""Going round the sites."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from attrs import evolve, frozen
from twisted.internet.task import Clock

from appliance.acme.decision import Action, Step
from appliance.acme.state import Attempt, RenewalState
from appliance.ops.metrics.survey import AT_ONCE, Survey
from appliance.ops.status.document import Report
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate

START = datetime(2026, 1, 1, tzinfo=UTC)
CERTIFICATE = make_certificate(["one.test"])
NOTHING = RenewalState()
LATER = Action(Step.WAIT, START + timedelta(days=60), "not due")


@frozen
class Site:
    """A report."""

    site: str
    names: tuple[str, ...] = ()
    serving: Certificate | None = CERTIFICATE
    saved: bool = True
    state: RenewalState = NOTHING
    next_step: Action = LATER


class Renewals:
    """Reports, and how often one was made."""

    def __init__(self, *sites: Site) -> None:
        self.sites = list(sites)
        self.made = 0

    def reports(self) -> Iterator[Report]:
        for site in self.sites:
            self.made += 1
            yield site


def surveyed(renewals: Renewals) -> tuple[Survey, Clock]:
    """A survey of them, not started."""
    clock = Clock()
    survey = Survey(clock, lambda: START)
    survey.attach(renewals)
    return survey, clock


def attempt(day: int, outcome: str = "") -> Attempt:
    """One that ended so many days after the start."""
    return Attempt(START + timedelta(days=day), ("one.test",), "", outcome)


def test_few_sites() -> None:
    """They are looked at whenever somebody asks; sites that are gone are forgotten."""
    renewals = Renewals(Site("a"), Site("b", serving=None, next_step=Action(Step.RENEW, START, "missing")))
    survey, _ = surveyed(renewals)
    survey.refresh()
    assert (survey.figures["a"].not_after, survey.figures["a"].next_attempt) == (
        CERTIFICATE.not_after,
        START + timedelta(days=60),
    )
    assert (survey.figures["b"].not_after, survey.figures["b"].next_attempt) == (None, None)
    renewals.sites.pop(0)
    survey.refresh()
    assert list(survey.figures) == ["b"]


def test_failures() -> None:
    """An attempt under way is none yet, though it is counted as it begins."""
    failing = RenewalState(failures=3)
    renewals = Renewals(Site("a", state=failing), Site("b", state=evolve(failing, running=True)))
    survey, _ = surveyed(renewals)
    survey.refresh()
    assert [each.failures for each in survey.figures.values()] == [3, 2]


def test_outcomes() -> None:
    """Each attempt since the start counts once, those of earlier processes do not."""
    earlier, first, second = attempt(-1), attempt(1), attempt(2, "no such name")
    renewals = Renewals(Site("a", state=RenewalState(history=(earlier, first))))
    survey, _ = surveyed(renewals)
    survey.refresh()
    assert (survey.issued, survey.failed) == (1, 0)
    renewals.sites = [Site("a", state=RenewalState(history=(earlier, first, second)))]
    survey.refresh()
    survey.refresh()
    assert (survey.issued, survey.failed) == (1, 1)


def test_many_sites() -> None:
    """A few each second, whoever asks; after a round all are known, and gone ones forgotten."""
    renewals = Renewals(*[Site(f"{number}") for number in range(3 * AT_ONCE + 1)])
    survey, clock = surveyed(renewals)
    survey.startService()
    for _ in range(4):
        before = renewals.made
        clock.advance(1)
        assert renewals.made - before <= AT_ONCE
        survey.refresh()
    clock.pump([1] * 4)
    assert len(survey.figures) == 3 * AT_ONCE + 1
    before = renewals.made
    survey.refresh()
    assert renewals.made == before
    del renewals.sites[:AT_ONCE]
    clock.pump([1] * 8)
    assert len(survey.figures) == 2 * AT_ONCE + 1
    survey.stopService()
    assert not clock.getDelayedCalls()
    survey.stopService()
