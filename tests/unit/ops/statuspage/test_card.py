"""A site on the page."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from appliance.acme.decision import Action, Step
from appliance.acme.state import RenewalState
from appliance.ops.metrics.counts import Counts
from appliance.ops.metrics.traffic import Traffic
from appliance.ops.status.document import Address, Extra
from tests.support.certificates import make_certificate
from tests.support.reports import NOW, MadeReport
from tests.support.statuspages import FAILED, GOOD, shown, told

EXPIRED = make_certificate(["one.test"], not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(hours=2))


def test_the_cas_advice() -> None:
    """Where no name has it yet."""
    state = evolve(FAILED, losses=())
    assert "What to do: " in shown(told(MadeReport(state=state)))


def test_the_life_bar() -> None:
    """A third over, renewed at the end of it, in percents."""
    html = shown(told(evolve(GOOD, next_step=Action(Step.WAIT, NOW + timedelta(days=30), "why"))))
    assert "33.3 % of its life is over; it is renewed at 66.7 %" in html
    assert 'width="33.3%"' in html
    gone = shown(told(evolve(GOOD, serving=EXPIRED)))
    assert 'class="over"' in gone
    assert "2 h ago" in gone


@pytest.mark.parametrize(
    ("report", "address", "words", "style"),
    [
        (GOOD, None, "well", "good"),
        (MadeReport(), None, "no certificate", "bad"),
        (MadeReport(state=RenewalState(running=True)), None, "being certified", "warn"),
        (evolve(GOOD, serving=EXPIRED), None, "certificate expired", "bad"),
        (evolve(GOOD, alarm="look"), None, "needs a look", "warn"),
        (GOOD, [Address("/", "http://a", "out", "why")], "application down", "bad"),
        (GOOD, [Address("/", "http://a", "out", "why"), Address("/", "b", "in")], "an address is down", "warn"),
    ],
)
def test_how_a_site_is(report: MadeReport, address: list[Address] | None, words: str, style: str) -> None:
    """In a word, and in the title if it is not well."""
    html = shown(told(report, extra=Extra(address) if address else None))
    assert f'<span class="badge {style}">{words}</span>' in html
    assert ("All is well" in html) is (style == "good")


def test_without_figures() -> None:
    """Before anything was counted."""
    assert "<figure" not in shown(told(GOOD, extra=Extra([Address("/", "http://a", "in")])))
    quiet = Traffic(Counts(1), lambda: 0, dict)
    html = shown(told(GOOD, busy=quiet, extra=Extra(traffic=quiet.total())))
    assert "<figure><figcaption>" in html


def test_a_site_in_maintenance() -> None:
    """Is said to be so, whatever else."""
    html = shown(told(GOOD, extra=Extra(maintenance=True)))
    assert '<span class="badge warn">in maintenance</span>' in html
    assert "until appliance maintenance off one.test" in html
