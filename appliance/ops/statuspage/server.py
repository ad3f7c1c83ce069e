"""The status page over HTTP: reading it, and pressing its buttons."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from appliance.ops.control.server import Command
from appliance.ops.metrics.server import is_local
from appliance.ops.status.document import Document
from appliance.ops.statuspage.buttons import NotPressedError, Panel, is_same_origin
from appliance.ops.statuspage.markup import el, page
from appliance.ops.statuspage.page import Offer, Wish, render
from appliance.ops.statuspage.style import POLICY, STYLE

MAX_FORM = 4096
"""Bytes of what is posted."""

_log = Logger()


class _Page(Resource, ABC):
    """What the pages have in common: they need the status, which takes a while where there are thousands of sites."""

    isLeaf = True

    def __init__(self, commands: Mapping[str, Command], panel: Panel) -> None:
        """``commands`` has ``status``."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._commands = commands
        self._panel = panel

    def render(self, request: Request) -> int:
        """See Resource; which methods there are, the listener has seen to."""
        _allow_style(request)
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        answering = Deferred.fromCoroutine(self._answer(request))
        answering.addErrback(_failed, request)
        answering.addCallback(lambda content: None if gone else _send(request, content))
        return NOT_DONE_YET

    @abstractmethod
    async def _answer(self, request: Request) -> bytes:
        """The content."""

    async def _status(self) -> Document:
        told = self._commands["status"].call({})
        return dict(told if isinstance(told, Mapping) else await told)


class StatusPage(_Page):
    """``/``."""

    async def _answer(self, request: Request) -> bytes:
        panel = self._panel
        why = "" if panel.enabled else "Buttons are switched off: [metrics] buttons = false."
        offer = Offer(panel.of_service(), panel.of_site, panel.token, panel.outcomes, why)
        return page(render(await self._status(), offer, _wish(request)))


class Press(_Page):
    """``/press``: what the buttons post to. Whoever was refused is told why, and nothing was done."""

    methods = (b"POST",)

    async def _answer(self, request: Request) -> bytes:
        try:
            key, token = _form(request)
            self._panel.press(await self._status(), key, token)
        except NotPressedError as error:
            request.setResponseCode(403)
            _log.warn("a press on the status page was refused: {error}", error=error)
            return _refusal("Nothing was done", str(error))
        request.setResponseCode(303)
        request.setHeader(b"Location", b"/")
        return b""


def _form(request: Request) -> tuple[str, str]:
    """The button's key and its token, of a form that is ours. Raises NotPressedError."""
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
    return form.get("button", [""])[0], form.get("token", [""])[0]


def _failed(failure: Failure, request: Request) -> bytes:
    _log.failure("unexpected error in the status page", failure)
    request.setResponseCode(500)
    return _refusal("The page could not be made", "The service's log says why.")


def _send(request: Request, content: bytes) -> None:
    request.setHeader(b"Content-Length", str(len(content)).encode("ascii"))
    if request.method != b"HEAD":
        request.write(content)
    request.finish()


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


def _refusal(what: str, why: str) -> bytes:
    body = el(
        "main",
        el("h1", what),
        el("p", why),
        el("p", el("a", "To the status page", href="/")),
        class_="card",
    )
    return page(el("html", el("head", el("title", what), el("style", STYLE)), el("body", body), lang="en"))
