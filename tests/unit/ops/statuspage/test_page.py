"""The status page out of the status document."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from attrs import evolve

from appliance.acme.progress import Moment
from appliance.ops.metrics.counts import Counts
from appliance.ops.metrics.traffic import Traffic
from appliance.ops.status.document import Address, AfterSwap, Document, Extra
from appliance.ops.statuspage.buttons import Button, Outcome
from appliance.ops.statuspage.markup import page
from appliance.ops.statuspage.page import PER_PAGE, Offer, Wish, render
from appliance.ops.statuspage.style import POLICY, STYLE
from tests.support.observed import observed
from tests.support.reports import NOW, MadeReport
from tests.support.statusfigures import figures, look_up
from tests.support.statuspages import CERTIFICATE, FAILED, GOOD, HOSTILE, shown, told
from tests.unit.ops.metrics.test_traffic import ended


class Elements(HTMLParser):
    """Which there are, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))


def traffic() -> Traffic:
    """A minute of requests."""
    counts = Counts(10)
    made = Traffic(counts, lambda: 3, lambda: {"http": 1, "https": 2})
    made.look(0.0)
    counts.requests(observed([ended("one.test"), ended("one.test", 500, 2.0)] * 200))
    made.look(5.0)
    return made


def everything() -> Document:
    """A site with all that can be told of one, written by somebody who means no good."""
    busy = traffic()
    address = Address("/", "http://a:1", "out", HOSTILE, 4, busy.address("http://a:1"))
    extra = Extra(
        [address, Address("/v1", "http://b:1")], AfterSwap(NOW, "ff", "x", HOSTILE, HOSTILE), "", busy.site("one.test")
    )
    progress = (Moment(NOW, f"has one.test checked {HOSTILE}"),)
    report = MadeReport(serving=CERTIFICATE, state=FAILED, saved=False, progress=progress)
    return told(report, extra=extra, busy=busy)


def test_nothing_hostile_gets_through() -> None:
    """Errors, reasons and steps are text wherever they stand; there is no script, no style attribute, no handler."""
    outcome = Outcome(NOW, Button("renew", "Renew", "one.test"), True, HOSTILE)
    html = shown(everything(), Offer(outcomes=[outcome]))
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 7
    assert not {"\x1b", "\u202e"} & set(html)
    elements = Elements(html).all
    assert "script" not in {tag for tag, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name == "style" or name.startswith("on")]


def test_every_figure_is_from_the_document() -> None:
    """As its ``data-from`` says; and what an operator looks for first is among them."""
    status = everything()
    found = figures(shown(status))
    for place, value in found.items():
        assert look_up(status, place) == value, place
    assert {
        "pid",
        "started",
        "now",
        "traffic/rate",
        "traffic/error_rate",
        "traffic/p95",
        "traffic/requests_in_flight",
        "traffic/connections/https",
        "sites/one.test/certificate/not_before",
        "sites/one.test/certificate/not_after",
        "sites/one.test/next/at",
        "sites/one.test/failures",
        "sites/one.test/traffic/rate",
        "sites/one.test/traffic/p50",
        "sites/one.test/upstreams/0/traffic/p95",
        "sites/one.test/upstreams/0/open",
        "sites/one.test/history/0/at",
    } <= found.keys()


def test_what_is_read_is_the_figure() -> None:
    """Rounded for people."""
    html = shown(everything())
    for words in ("80</data>", "40</data>", "50 ms</data>", "in 60 d</time>", "3 h</time>", "400</data>", "200</data>"):
        assert words in html, words
    assert "What to do: " not in html, "the advice stands with the name already"


def test_buttons() -> None:
    """Forms with nothing but the button's name and its token; without any, why."""
    button = Button("renew", "Renew", "one.test")
    offer = Offer([Button("reload", "Reload")], lambda site: [button], lambda each: f"token of {each.command}")
    elements = Elements(shown(told(GOOD), offer)).all
    forms = [attributes for tag, attributes in elements if tag == "form"]
    assert forms == [{"method": "post", "action": "/press"}] * 2
    hidden = [(attributes["name"], attributes["value"]) for tag, attributes in elements if tag == "input"]
    assert hidden == [
        ("button", "reload  "),
        ("token", "token of reload"),
        ("button", "renew one.test "),
        ("token", "token of renew"),
    ]
    html = shown(told(GOOD), Offer(why_none="no buttons here"))
    assert "no buttons here" in html
    assert "<form" not in html


def test_outcomes() -> None:
    """Under way, done, or what went wrong."""
    button = Button("renew", "Renew", "one.test")
    html = shown(
        told(GOOD),
        Offer(
            outcomes=[Outcome(NOW, button), Outcome(NOW, button, True), Outcome(NOW, button, True, "the CA said no")]
        ),
    )
    assert re.findall(r'<span class="state (\w+)">([^<]*)</span></p>', html) == [
        ("warn", "under way"),
        ("good", "done"),
        ("bad", "the CA said no"),
    ]


def test_many_sites() -> None:
    """In pages, those in trouble first; a page beyond the last is the last."""
    reports = [evolve(GOOD, site=f"s{number}.test") for number in range(PER_PAGE + 2)]
    status = told(*reports, MadeReport("bad.test"))
    first = shown(status)
    assert first.count("<article") == PER_PAGE
    assert first.index("bad.test") < first.index("s0.test")
    for number in (2, 99):
        html = shown(status, page=number, still=True)
        assert html.count("<article") == 3
        assert "/?page=1&amp;still" in html
    assert 'http-equiv="refresh"' in first
    assert 'http-equiv="refresh"' not in shown(status, still=True)


def test_no_sites() -> None:
    """Not all is well, then: it says what is missing, where nothing is configured."""
    status = told()
    assert "No site has been looked at yet" in page(render(status, Offer(), Wish())).decode()
    status["configuration"] = {"file": "/etc/appliance.toml", "error": "", "sites": 0}
    assert "add a [[site]] to /etc/appliance.toml" in page(render(status, Offer(), Wish())).decode()


def test_the_policy_fits_the_style() -> None:
    """The style stands in the page as it was hashed, and nothing else is allowed."""
    assert not set("<>&") & set(STYLE)
    assert f"<style>{STYLE}</style>" in shown(told(GOOD))
    assert "script" not in POLICY
    assert POLICY.startswith("default-src 'none'; style-src 'sha256-")


def test_the_configuration() -> None:
    """A reload that failed, with every mistake; and that there is no site yet."""
    wrong = {"error": f"line 3: bad\n{HOSTILE}", "failed": NOW.isoformat(), "loaded": NOW.isoformat(), "sites": 1}
    html = shown({**told(GOOD), "configuration": wrong})
    assert "the last reload failed" in html
    assert "line 3: bad<br" in html
    assert "<script" not in html
    assert "No site has been looked at yet." in shown(told())
    html = shown({**told(MadeReport(serving=CERTIFICATE)), "configuration": {**wrong, "error": ""}})
    assert "the last reload" not in html
