"""The status page: the ``status`` document as HTML. It works without scripts, and nothing in it is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from attrs import field, frozen
from twisted.web.template import Tag

from appliance.ops.status import table
from appliance.ops.status.document import Document
from appliance.ops.status.table import duration
from appliance.ops.statuspage.buttons import Button, Outcome
from appliance.ops.statuspage.card import card, condition
from appliance.ops.statuspage.figures import moment, number, rate
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
                [_card(scene, site) for site in chosen[(page - 1) * PER_PAGE : page * PER_PAGE]],
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
    troubled = sum(condition(site, now)[0] != "good" for site in status["sites"])
    return f"{troubled} of {len(status['sites'])} sites need a look" if troubled else "All is well"


def _urgency(site: Document, now: datetime) -> tuple[int, str]:
    state = ("bad", "warn", "good").index(condition(site, now)[0])
    return state, site["certificate"]["not_after"] if site["certificate"] else ""


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
            _tile("requests a second", number(traffic["rate"], rate(traffic["rate"]), "traffic", "rate")),
            _tile(
                "errors a second", number(traffic["error_rate"], rate(traffic["error_rate"]), "traffic", "error_rate")
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


def _card(scene: _Scene, site: Document) -> Tag:
    buttons = [_button(button, scene.offer.token) for button in scene.offer.of_site(site)]
    return card(site, scene.now, buttons)


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
