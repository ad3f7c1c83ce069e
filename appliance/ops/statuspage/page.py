"""The status page: the ``status`` document as HTML. It works without scripts, and nothing in it is computed twice.

Each figure tells in ``data-from`` where in ``status --json`` it is from, ``sites/example.com/certificate/not_after``,
and in ``value`` or ``datetime`` what stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from attrs import field, frozen
from twisted.web.template import Tag

from appliance.ops.status import table
from appliance.ops.status.document import Document
from appliance.ops.status.table import duration
from appliance.ops.statuspage.buttons import Button, Outcome
from appliance.ops.statuspage.graph import life_bar, spark
from appliance.ops.statuspage.markup import el
from appliance.ops.statuspage.style import STYLE

REFRESH = 10
"""Seconds until the page is loaded again, with few sites; a second more for every ten."""
PER_PAGE = 50
"""Sites."""

Token = Callable[[Button], str]


@frozen
class Offer:
    """What may be pressed, and what came of it."""

    of_service: Sequence[Button] = ()
    of_site: Callable[[Document], Sequence[Button]] = lambda site: ()
    token: Token = lambda button: ""
    outcomes: Sequence[Outcome] = ()
    why_none: str = ""
    """Said where there are no buttons."""


@frozen
class Wish:
    """What a reader asked for."""

    page: int = 1
    still: bool = False
    """Not to be loaded again by itself."""


@frozen
class _Scene:
    """What all parts of the page need."""

    status: Document
    now: datetime
    offer: Offer = field(factory=Offer)


def render(status: Document, offer: Offer, wish: Wish) -> Tag:
    """The document's root."""
    scene = _Scene(status, datetime.fromisoformat(status["now"]), offer)
    chosen = sorted(status["sites"], key=lambda site: _urgency(site, scene.now))
    pages = max(1, -(-len(chosen) // PER_PAGE))
    page = min(max(1, wish.page), pages)
    refresh = None if wish.still else el("meta", http_equiv="refresh", content=str(_refresh(status)))
    return el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            refresh,
            el("title", f"{_title(status, scene.now)} - appliance"),
            el("style", STYLE),
        ),
        el(
            "body",
            _header(scene),
            el(
                "main",
                _tiles(scene),
                _service(scene),
                _configuration(status),
                [_outcome(outcome) for outcome in offer.outcomes],
                [_site(scene, site) for site in chosen[(page - 1) * PER_PAGE : page * PER_PAGE]],
                _pages(page, pages, wish),
            ),
            _footer(status, page, wish),
        ),
        lang="en",
    )


def _refresh(status: Document) -> int:
    return REFRESH + len(status["sites"]) // 10


def _title(status: Document, now: datetime) -> str:
    if not status["sites"]:
        return table.no_sites(status)
    troubled = sum(_state(site, now)[0] != "good" for site in status["sites"])
    return f"{troubled} of {len(status['sites'])} sites need a look" if troubled else "All is well"


def _urgency(site: Document, now: datetime) -> tuple[int, str]:
    state = ("bad", "warn", "good").index(_state(site, now)[0])
    return state, site["certificate"]["not_after"] if site["certificate"] else ""


def _state(site: Document, now: datetime) -> tuple[str, str]:
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


# Figures, each with its place in the document.


def number(value: float | None, shown: str, *place: str) -> Tag:
    """A figure."""
    return el("data", shown or "-", value="" if value is None else value, data_from="/".join(place))


def moment(value: str | None, shown: str, *place: str) -> Tag:
    """A point in time."""
    return el("time", shown, datetime=value, data_from="/".join(place)) if value else el("span", shown)


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.2g}"


# The parts.


def _header(scene: _Scene) -> Tag:
    status = scene.status
    return el(
        "header",
        el("h1", "The appliance"),
        el("span", f"version {status['software']}", class_="soft small"),
        el("span", "process ", number(status["pid"], str(status["pid"]), "pid"), class_="soft small"),
        el(
            "span",
            "running for ",
            moment(status["started"], table.span(scene.now - datetime.fromisoformat(status["started"])), "started"),
            class_="soft small",
        ),
        el("span", "as of ", moment(status["now"], f"{scene.now:%Y-%m-%d %H:%M:%S} UTC", "now"), class_="soft small"),
    )


def _tile(what: str, *value: Tag | str) -> Tag:
    return el("div", el("span", list(value), class_="value"), el("span", what, class_="soft small"), class_="tile")


def _tiles(scene: _Scene) -> Tag:
    status, traffic = scene.status, scene.status["traffic"]
    certified = sum(site["certificate"] is not None for site in status["sites"])
    tiles = [_tile("sites", str(len(status["sites"]))), _tile("with a certificate", str(certified))]
    if traffic is not None:
        standing = traffic["connections"]
        tiles += [
            _tile("requests a second", number(traffic["rate"], _rate(traffic["rate"]), "traffic", "rate")),
            _tile(
                "errors a second", number(traffic["error_rate"], _rate(traffic["error_rate"]), "traffic", "error_rate")
            ),
            _tile("of 100 requests, 95 within", number(traffic["p95"], duration(traffic["p95"]), "traffic", "p95")),
            _tile(
                "requests under way",
                number(
                    traffic["requests_in_flight"], str(traffic["requests_in_flight"]), "traffic", "requests_in_flight"
                ),
            ),
            *(
                _tile(
                    f"{kind.upper()} connections",
                    number(standing[kind], str(standing[kind]), "traffic", "connections", kind),
                )
                for kind in standing
            ),
        ]
    return el("section", tiles, class_="tiles", aria_label="Everything together")


def _service(scene: _Scene) -> Tag | None:
    offer = scene.offer
    if not offer.of_service and not offer.why_none:
        return None
    buttons = [_button(button, offer.token) for button in offer.of_service]
    return el("div", buttons, el("span", offer.why_none, class_="soft small") if offer.why_none else None, class_="bar")


def _configuration(status: Document) -> list[Tag]:
    """What is wrong with the configuration, if the last reload failed; that there is no site, if so."""
    wrong = table.reload_trouble(status)
    if not status["sites"]:
        wrong.append(table.no_sites(status))
    return [el("p", [[line, el("br")] for line in wrong], class_="trouble", role="alert")] if wrong else []


def _button(button: Button, token: Token) -> Tag:
    return el(
        "form",
        el("input", type="hidden", name="button", value=button.key),
        el("input", type="hidden", name="token", value=token(button)),
        el("button", button.label, type="submit"),
        method="post",
        action="/press",
    )


def _outcome(outcome: Outcome) -> Tag:
    button = outcome.button
    what = f"{button.label}, {button.site}" if button.site else button.label
    result = "under way" if not outcome.done else outcome.problem or "done"
    return el(
        "p",
        el("time", f"{outcome.at:%H:%M:%S}", datetime=outcome.at.isoformat(), class_="soft"),
        f" {what}: ",
        el("span", result, class_=f"state {'bad' if outcome.problem else 'good' if outcome.done else 'warn'}"),
        class_="note small",
        role="status",
    )


def _site(scene: _Scene, site: Document) -> Tag:
    state, words = _state(site, scene.now)
    others = ", ".join(site["names"][1:])
    return el(
        "article",
        el(
            "div",
            el("h2", site["site"]),
            el("span", words, class_=f"badge {state}"),
            el("span", f"also {others}" if others else "", class_="names small"),
            [_button(button, scene.offer.token) for button in scene.offer.of_site(site)],
            class_="head",
        ),
        _troubles(site),
        el("div", _certificate(scene, site), _applications(site), class_="columns"),
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


def _certificate(scene: _Scene, site: Document) -> Tag:
    certificate, now = site["certificate"], scene.now
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
        figure("req/s", traffic["rate"], "" if traffic["rate"] is None else _rate(traffic["rate"]), "traffic", "rate"),
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
            number(traffic["rate"], _rate(traffic["rate"]), *place, "rate"),
            " requests and ",
            number(traffic["error_rate"], _rate(traffic["error_rate"]), *place, "error_rate"),
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


def _pages(page: int, pages: int, wish: Wish) -> Tag | None:
    if pages == 1:
        return None
    still = "&still" if wish.still else ""
    links = [
        el("b", str(each)) if each == page else el("a", str(each), href=f"/?page={each}{still}")
        for each in range(1, pages + 1)
    ]
    return el("nav", "Page ", [[link, " "] for link in links], class_="bar", aria_label="Pages")


def _footer(status: Document, page: int, wish: Wish) -> Tag:
    here = f"page={page}"
    link = el("a", "go on", href=f"/?{here}") if wish.still else el("a", "hold it", href=f"/?{here}&still")
    what = "This page stands still: " if wish.still else f"Loaded again every {_refresh(status)} seconds: "
    return el(
        "footer",
        el(
            "p",
            what,
            link,
            ". Rates and times are of the last minute. The same for programs: appliance status --json, and ",
            el("a", "/metrics", href="/metrics"),
            ".",
            class_="soft small",
        ),
    )
