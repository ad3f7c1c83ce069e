"""A site on the status page: its certificate, its applications, its orders, and how it is in a word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from twisted.web.template import Tag

from appliance.ops.status import table
from appliance.ops.status.document import Document
from appliance.ops.status.table import duration
from appliance.ops.statuspage.figures import moment, number, rate
from appliance.ops.statuspage.graph import life_bar, spark
from appliance.ops.statuspage.markup import el


def condition(site: Document, now: datetime) -> tuple[str, str]:
    """How a site is, for its colour and in words."""
    certificate = site["certificate"]
    if certificate is None:
        return ("warn", "being certified") if site["under_way"] else ("bad", "no certificate")
    if datetime.fromisoformat(certificate["not_after"]) <= now:
        return "bad", "certificate expired"
    if site.get("maintenance"):
        return "warn", "in maintenance"
    if any(upstream["state"] == "out" for upstream in site["upstreams"]):
        out = all(upstream["state"] == "out" for upstream in site["upstreams"])
        return ("bad", "application down") if out else ("warn", "an address is down")
    if table.troubles(site):
        return "warn", "needs a look"
    return "good", "well"


def card(site: Document, now: datetime, buttons: Sequence[Tag]) -> Tag:
    """Everything about it: what is wrong first, then certificate and applications, then orders."""
    state, words = condition(site, now)
    others = ", ".join(site["names"][1:])
    return el(
        "article",
        el(
            "div",
            el("h2", site["site"]),
            el("span", words, class_=f"badge {state}"),
            el("span", f"also {others}" if others else "", class_="names small"),
            buttons,
            class_="head",
        ),
        _troubles(site),
        el("div", _certificate(site, now), _applications(site), class_="columns"),
        _steps(site),
        _history(site),
        class_=f"card {state}",
    )


def _troubles(site: Document) -> list[Tag]:
    """What is wrong, and what to do."""
    found = table.troubles(site)
    problem = site["problem"]
    advice = problem["ca"]["advice"] if problem and problem["ca"] and not problem["names"] else ""
    if advice and not any(advice in each for each in found):
        found.append(f"What to do: {advice}")
    return [el("p", each, class_="trouble", role="alert") for each in found]


def _certificate(site: Document, now: datetime) -> Tag:
    certificate = site["certificate"]
    next_step = table.next_step(site, now).plain
    place = ("sites", site["site"])
    renewal = el("div", el("b", "next"), moment(site["next"]["at"], next_step, *place, "next", "at"))
    if certificate is None:
        return el("section", el("h3", "Certificate"), el("p", "There is none yet."), el("p", next_step, class_="soft"))
    begin, end = (datetime.fromisoformat(certificate[key]) for key in ("not_before", "not_after"))
    left = table.span(end - now)
    return el(
        "section",
        el("h3", "Certificate"),
        life_bar(begin, end, now, datetime.fromisoformat(site["next"]["at"])),
        el(
            "div",
            el(
                "div",
                el("b", "issued"),
                moment(certificate["not_before"], f"{begin:%Y-%m-%d %H:%M}", *place, "certificate", "not_before"),
            ),
            renewal,
            el(
                "div",
                el("b", "ends" if end > now else "ended"),
                moment(
                    certificate["not_after"],
                    f"in {left}" if end > now else f"{left} ago",
                    *place,
                    "certificate",
                    "not_after",
                ),
            ),
            class_="marks",
        ),
        el(
            "dl",
            el("dt", "why then"),
            el("dd", site["next"]["reason"]),
            el("dt", "issuer"),
            el("dd", certificate["issuer"]),
            el("dt", "serial"),
            el("dd", certificate["serial"]),
            _failures(site, *place),
        ),
    )


def _failures(site: Document, *place: str) -> list[Tag]:
    if not site["failures"]:
        return []
    count = number(site["failures"], str(site["failures"]), *place, "failures")
    return [el("dt", "failed"), el("dd", count, " in a row")]


def _applications(site: Document) -> Tag:
    place = ("sites", site["site"])
    titles = ("Path", "Application", "State", "Req/s", "p50", "p95", "Open")
    rows = [_upstream(upstream, *place, "upstreams", str(index)) for index, upstream in enumerate(site["upstreams"])]
    heads = [el("th", title, scope="col", class_="n" if title in titles[3:] else None) for title in titles]
    return el(
        "section",
        el("h3", "Applications"),
        el("table", el("thead", el("tr", heads)), el("tbody", rows)) if rows else el("p", "None."),
        _traffic(site["traffic"], *place, "traffic"),
    )


def _upstream(upstream: Document, *place: str) -> Tag:
    traffic = upstream["traffic"] or {"rate": None, "p50": None, "p95": None}
    out = upstream["state"] == "out"
    state = upstream["state"] or "not known"  # the reason stands above, among the troubles

    def figure(label: str, value: float | None, shown: str, *key: str) -> Tag:
        return el("td", number(value, shown, *place, *key), class_="n", data_label=label)

    return el(
        "tr",
        el("td", upstream["path"]),
        el("td", upstream["address"], class_="wide"),
        el("td", el("span", state, class_=f"state {'bad' if out else 'good'}")),
        figure("req/s", traffic["rate"], "" if traffic["rate"] is None else rate(traffic["rate"]), "traffic", "rate"),
        figure("p50", traffic["p50"], duration(traffic["p50"]), "traffic", "p50"),
        figure("p95", traffic["p95"], duration(traffic["p95"]), "traffic", "p95"),
        figure("open", upstream["open"], "" if upstream["open"] is None else str(upstream["open"]), "open"),
    )


def _traffic(traffic: Document | None, *place: str) -> Tag | None:
    if traffic is None:
        return None
    return el(
        "figure",
        spark(traffic["rates"]),
        el(
            "figcaption",
            number(traffic["rate"], rate(traffic["rate"]), *place, "rate"),
            " requests and ",
            number(traffic["error_rate"], rate(traffic["error_rate"]), *place, "error_rate"),
            " errors a second, half within ",
            number(traffic["p50"], duration(traffic["p50"]), *place, "p50"),
            ", 95 of 100 within ",
            number(traffic["p95"], duration(traffic["p95"]), *place, "p95"),
            "; ",
            number(traffic["requests"], f"{traffic['requests']:,}", *place, "requests"),
            " requests and ",
            number(traffic["errors"], f"{traffic['errors']:,}", *place, "errors"),
            " errors in all",
        ),
    )


def _steps(site: Document) -> Tag | None:
    if not site["under_way"] or not site["progress"]:
        return None
    steps = [el("li", f"{datetime.fromisoformat(step['at']):%H:%M:%S} {step['step']}") for step in site["progress"]]
    return el("section", el("h3", "Under way"), el("ol", steps))


def _history(site: Document) -> Tag | None:
    if not site["history"]:
        return None
    rows = [
        el(
            "tr",
            el(
                "td",
                moment(
                    each["at"], each["at"][:16].replace("T", " "), "sites", site["site"], "history", str(index), "at"
                ),
                class_="wide",
            ),
            el("td", ", ".join(each["names"]), class_="wide"),
            el("td", each["authority"], class_="wide"),
            el(
                "td",
                each["outcome"] or "certificate issued",
                class_=f"wide state {'bad' if each['outcome'] else 'good'}",
            ),
        )
        for index, each in enumerate(site["history"])
    ]
    titles = [el("th", title, scope="col") for title in ("When (UTC)", "Names", "CA", "Outcome")]
    return el(
        "details",
        el("summary", f"Renewal history: the last {len(rows)}"),
        el("table", el("thead", el("tr", titles)), el("tbody", rows[::-1])),
    )
