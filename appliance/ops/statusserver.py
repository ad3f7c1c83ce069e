"""The status page over HTTP: reading it, and pressing its buttons."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from appliance.ops.buttons import NotPressedError, Panel, is_same_origin
from appliance.ops.markup import el, page
from appliance.ops.metricsserver import is_local
from appliance.ops.status import Document
from appliance.ops.statuspage import Offer, Wish, render
from appliance.ops.statusstyle import POLICY, STYLE

MAX_FORM = 4096
"""Bytes of what is posted."""

Status = Callable[[], Document]

_log = Logger()


class StatusPage(Resource):
    """``/``."""

    isLeaf = True

    def __init__(self, status: Status, panel: Panel) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._status = status
        self._panel = panel

    def render_GET(self, request: Request) -> bytes:
        """See Resource."""
        _allow_style(request)
        panel = self._panel
        why = "" if panel.enabled else "Buttons are switched off: [metrics] buttons = false."
        offer = Offer(panel.of_service(), panel.of_site, panel.token, panel.outcomes, why)
        return page(render(self._status(), offer, _wish(request)))


class Press(Resource):
    """``/press``: what the buttons post to. Whoever was refused is told why, and nothing was done."""

    isLeaf = True
    methods = (b"POST",)

    def __init__(self, status: Status, panel: Panel) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._status = status
        self._panel = panel

    def render_POST(self, request: Request) -> bytes:
        """See Resource."""
        try:
            self._press(request)
        except NotPressedError as error:
            request.setResponseCode(403)
            _allow_style(request)
            _log.warn("a press on the status page was refused: {error}", error=error)
            return _refusal(str(error))
        request.setResponseCode(303)
        request.setHeader(b"Location", b"/")
        return b""

    def _press(self, request: Request) -> None:
        host, origin, site = (request.getHeader(name) for name in ("host", "origin", "sec-fetch-site"))
        if not is_local((host or "").encode("latin-1")) or not is_same_origin(origin, host or "", site):
            raise NotPressedError("This was not sent by the status page itself.")
        assert request.content is not None
        content = request.content.read(MAX_FORM + 1)
        kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded" or len(content) > MAX_FORM:
            raise NotPressedError("This is no form of the status page.")
        try:
            form = parse_qs(content.decode("utf-8", "replace"), max_num_fields=8)
        except ValueError as error:
            raise NotPressedError("This is no form of the status page.") from error
        self._panel.press(self._status(), form.get("button", [""])[0], form.get("token", [""])[0])


def _allow_style(request: Request) -> None:
    """Forms of ours must tell their origin, which ``no-referrer`` would hide from ourselves."""
    request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
    request.setHeader(b"Content-Security-Policy", POLICY.encode("ascii"))
    request.setHeader(b"Referrer-Policy", b"same-origin")
    request.setHeader(b"Cross-Origin-Opener-Policy", b"same-origin")
    request.setHeader(b"Cross-Origin-Resource-Policy", b"same-origin")


def _wish(request: Request) -> Wish:
    assert request.args is not None
    number = request.args.get(b"page", [b"1"])[0]
    return Wish(int(number) if number.isdigit() and len(number) < 6 else 1, b"still" in request.args)


def _refusal(why: str) -> bytes:
    body = el(
        "main",
        el("h1", "Nothing was done"),
        el("p", why),
        el("p", el("a", "To the status page", href="/")),
        class_="card",
    )
    return page(
        el("html", el("head", el("title", "Nothing was done"), el("style", STYLE)), el("body", body), lang="en")
    )
