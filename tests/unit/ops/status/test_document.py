"""The status document, and how it looks on a terminal."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from attrs import evolve
from rich.console import Console

from appliance.acme.decision import Action, Step
from appliance.acme.losses import Loss
from appliance.acme.state import Attempt, RenewalState
from appliance.errors import Problem
from appliance.ops.status import table
from appliance.ops.status.document import Address, AfterSwap, Document, Extra, document
from tests.support.certificates import make_certificate
from tests.support.reports import NOW, MadeReport

CERTIFICATE = make_certificate(["one.test"], not_before=NOW - timedelta(days=30), not_after=NOW + timedelta(days=60))
EXPIRED = make_certificate(["one.test"], not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(hours=2))
GOOD = MadeReport(names=("one.test",), serving=CERTIFICATE)
CAA = Problem("urn:ietf:params:acme:error:caa", "CAA record for www.one.test prevents issuance")
FAILED = RenewalState(
    names=("one.test", "www.one.test"),
    failures=2,
    problem="www.one.test: caa: …",
    document=CAA,
    losses=(Loss("www.one.test", 1, CAA, NOW + timedelta(hours=1)),),
    history=(Attempt(NOW, ("one.test",), "https://ca.test/directory", "no"),),
)


def made(report: MadeReport, extra: Extra | None = None, **more: object) -> Document:
    """A document as JSON gives it back."""
    extras = {report.site: extra} if extra else None
    plain = document([report], NOW, running=True, extras=extras, pid=7, state_dir="/s", started=NOW.isoformat(), **more)
    decoded: Document = json.loads(json.dumps(plain))
    return decoded


def shown(status: Document, name: str | None = None, terminal: bool = False) -> str:
    """What stands on a terminal of 120 columns."""
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=terminal, color_system="standard" if terminal else None)
    if name is None:
        table.show(status, console)
    else:
        assert table.show_site(status, name, console)
    return out.getvalue()


def test_a_good_site_has_everything_in_plain_values() -> None:
    """Serial in hexadecimal, times in ISO 8601, what is next and why."""
    extra = Extra([Address("/", "http://127.0.0.1:8000", "in")], AfterSwap(NOW, "ab", "127.0.0.1 port 443"))
    site = made(GOOD, extra)["sites"][0]
    assert site["certificate"]["serial"] == f"{CERTIFICATE.serial:x}"
    assert site["certificate"]["not_after"] == "2027-01-21T12:00:00+00:00"
    assert site["next"] == {"step": "wait", "at": "2027-01-21T12:00:00+00:00", "reason": GOOD.next_step.reason}
    assert site["problem"] is None
    assert site["upstreams"] == [
        {"path": "/", "address": "http://127.0.0.1:8000", "state": "in", "reason": "", "open": None, "traffic": None}
    ]
    assert site["wire"]["serial"] == "ab"


def test_the_last_error_is_told_in_the_cas_words_and_in_plain_ones() -> None:
    """For the site, and for every name that is left out."""
    problem = made(MadeReport(state=FAILED))["sites"][0]["problem"]
    assert problem["ca"]["detail"] == CAA.detail
    assert "CAA records of one.test" in problem["ca"]["advice"]
    assert problem["names"][0]["name"] == "www.one.test"
    assert "CAA records of www.one.test" in problem["names"][0]["advice"]


def test_the_table_says_what_is_served_until_when_and_what_is_next() -> None:
    """One line a site, and nothing below it when all is well."""
    lines = shown(made(GOOD)).splitlines()
    assert "pid 7" in lines[0]
    assert lines[1].split() == ["SITE", "CERTIFICATE", "EXPIRES", "NEXT", "UPSTREAMS"]
    assert "one.test" in lines[2]
    assert "in 60 d" in lines[2]
    assert "order 2027-01-21 12:00 UTC" in lines[2]
    assert len(lines) == 3


def test_what_is_wrong_stands_below_the_table() -> None:
    """A failed order, lost names, a certificate not saved, a wire that shows another, an export, an alarm."""
    report = MadeReport(state=FAILED, saved=False, alarm="look at it")
    swap = AfterSwap(NOW, "ff", "127.0.0.1 port 443", problem="it shows ff", export="the deploy hook failed")
    text = " ".join(shown(made(report, Extra(after_swap=swap))).split())
    assert "the last order failed: www.one.test" in text
    assert "www.one.test is left out: CAA record for www.one.test prevents issuance" in text
    assert "could not be saved" in text
    assert "what is served is not what is stored: it shows ff" in text
    assert "the deploy hook failed" in text
    assert "look at it" in text


def test_lost_names_without_a_failed_order() -> None:
    """After an order for the others went well."""
    text = shown(made(MadeReport(state=evolve(FAILED, problem=""))))
    assert "www.one.test is left out" in text
    assert "the last order failed" not in text


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (MadeReport(), "none"),
        (MadeReport(serving=CERTIFICATE), "without www.one.test"),
        (evolve(GOOD, serving=EXPIRED), "2 h ago"),
        (evolve(GOOD, next_step=Action(Step.RENEW, NOW, "")), "order now"),
        (evolve(GOOD, next_step=Action(Step.WAIT, NOW + timedelta(minutes=5), "")), "order in 5 min"),
        (evolve(GOOD, next_step=Action(Step.STORE, NOW, "")), "save now"),
    ],
)
def test_lines_of_other_sites(report: MadeReport, words: str) -> None:
    """What is missing, expired, due."""
    assert words in shown(made(report))


def test_an_upstream_that_is_out_is_named() -> None:
    """And those that are in are not called out."""
    extra = Extra([Address("/", "http://a", "in"), Address("/", "http://b", "out")])
    assert "out: http://b" in shown(made(GOOD, extra))
    extra = Extra([Address("/", "http://b", "out", "it refuses")])
    assert "http://b out: it refuses" in shown(made(GOOD, extra), "one.test")


def test_workers_that_are_missing() -> None:
    """Where there are several processes, and not all of them serve, or not all always have."""
    report = MadeReport(serving=None)
    for workers, words in (
        (None, ""),
        ({"configured": 2, "serving": 2, "replaced": 0}, ""),
        ({"configured": 2, "serving": 1, "replaced": 0}, "1 of 2 processes serve"),
        ({"configured": 2, "serving": 2, "replaced": 3}, "3 ended by themselves"),
    ):
        text = shown(made(report, workers=workers))
        assert words in text
        assert ("processes serve" in text) == bool(words)


def test_colour_is_for_terminals() -> None:
    """Not one escape sequence in a pipe."""
    assert "\x1b" not in shown(made(MadeReport()))
    assert "\x1b[31m" in shown(made(MadeReport()), terminal=True)


def test_one_site_in_full() -> None:
    """Found by any of its names: whole serial, issuer, dates, reason, what the wire showed."""
    extra = Extra([Address("/", "http://a")], AfterSwap(NOW, "abc", "127.0.0.1 port 443"))
    text = shown(made(MadeReport(serving=CERTIFICATE, state=FAILED), extra), "www.one.test")
    for part in (f"{CERTIFICATE.serial:x}", CERTIFICATE.issuer, "/ -> http://a", "serial abc", "the last order failed"):
        assert part in text
    text = shown(made(MadeReport()), "one.test")
    assert "cannot be reached over TLS" in text
    assert "not looked at yet" in text
    broken = Extra(after_swap=AfterSwap(NOW, problem="it shows another"))
    assert "it shows another" in shown(made(GOOD, broken), "one.test")
    assert not table.show_site(made(GOOD), "two.test", Console(file=io.StringIO()))


def test_without_sites_and_without_a_service() -> None:
    """Says which of the two it is."""
    empty = document([], NOW, running=True, state_dir="/s")
    assert "No site has been looked at yet" in shown(empty)
    stopped = document([], NOW, running=False, state_dir="/s", complaints=["/s/x.pem: broken"])
    text = shown(stopped)
    assert "not running: this is what is stored in /s" in text
    assert "No site is known" in text
    one = document([GOOD], NOW, running=False, state_dir="/s", complaints=["/s/x.pem: broken"])
    assert "/s/x.pem: broken" in shown(one)


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(days=400, hours=3), "400 d"),
        (timedelta(days=29, hours=3), "29 d 3 h"),
        (timedelta(days=2), "2 d"),
        (timedelta(hours=3, minutes=5), "3 h 5 min"),
        (timedelta(hours=3), "3 h"),
        (timedelta(seconds=90), "1 min"),
        (timedelta(seconds=-40), "40 s"),
    ],
)
def test_spans(length: timedelta, words: str) -> None:
    """In the two units that matter."""
    assert table.span(length) == words


@pytest.mark.parametrize(("issuer", "word"), [("CN=R3,O=LE", "R3"), ("O=Only", "Only"), ("L=Nowhere", "L=Nowhere")])
def test_issuers_are_called_by_their_common_name(issuer: str, word: str) -> None:
    """Else by what there is."""
    status = made(GOOD)
    status["sites"][0]["certificate"]["issuer"] = issuer
    assert word in shown(status)
