"""The status page over HTTP: who may read it, and who may press its buttons."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from appliance.ops.control.server import Arguments, Command
from appliance.ops.metrics.server import InnerListener
from appliance.ops.status.document import Document, document
from appliance.ops.statuspage.buttons import Panel
from appliance.ops.statuspage.server import MAX_FORM, Press, StatusPage
from tests.support.certificates import make_certificate
from tests.support.reports import NOW, MadeReport
from tests.unit.ops.metrics.test_server import ask

FORM = "application/x-www-form-urlencoded"


class PageTests(TestCase):
    """Over real sockets."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.done: list[Arguments] = []
        self.broken = False
        commands = {"renew": Command(self.renew), "status": Command(self.status, acts=False)}
        panel = Panel(self.reactor, lambda: NOW, commands, True)
        self.listener = InnerListener(self.reactor, ["tcp:0:interface=127.0.0.1"], {}, False)
        self.listener.add(b"", StatusPage(commands, panel))
        self.listener.add(b"press", Press(commands, panel))
        self.listener.startService()
        self.addCleanup(self.listener.stopService)
        host: Any = self.listener.ports[0].getHost()
        self.host = f"127.0.0.1:{host.port}"
        self.address = ("127.0.0.1", host.port)

    def status(self, arguments: Arguments) -> Document:
        if self.broken:
            raise ValueError("broken")
        report = MadeReport(serving=make_certificate(["one.test"]))
        return document([report], NOW, running=True, pid=1, started=NOW.isoformat(), state_dir="/", traffic=None)

    def renew(self, arguments: Arguments) -> Document:
        self.done.append(arguments)
        return {}

    async def get(self, path: str = "/", host: str = "") -> str:
        request = f"GET {path} HTTP/1.1\r\nHost: {host or self.host}\r\nConnection: close\r\n\r\n"
        answer: bytes = await deferToThread(ask, self.address, request.encode())
        return answer.decode()

    async def press(self, *, form: str | None = None, kind: str = FORM, host: str = "", **headers: str) -> str:
        """The button of the page, as a browser would; each of this can be changed."""
        if form is None:
            page = await self.get()
            fields = {name: re.findall(f'name="{name}" value="([^"]*)"', page)[0] for name in ("button", "token")}
            form = urlencode(fields)
        headers = {"Origin": f"http://{self.host}", "Sec_Fetch_Site": "same-origin", **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items() if value)
        request = (
            f"POST /press HTTP/1.1\r\nHost: {host or self.host}\r\nConnection: close\r\n{lines}"
            f"Content-Type: {kind}\r\nContent-Length: {len(form)}\r\n\r\n{form}"
        )
        answer: bytes = await deferToThread(ask, self.address, request.encode())
        return answer.decode()

    def test_reading(self) -> Deferred[None]:
        """With a policy that lets no script run, in nobody's frame, kept by nobody."""

        async def go() -> None:
            head, _, body = (await self.get()).partition("\r\n\r\n")
            assert head.startswith("HTTP/1.1 200")
            for line in (
                "Content-Security-Policy: default-src 'none'; style-src 'sha256-",
                "frame-ancestors 'none'",
                "Referrer-Policy: same-origin",
                "X-Content-Type-Options: nosniff",
                "Cache-Control: no-store",
                "Content-Type: text/html; charset=utf-8",
            ):
                assert line in head
            assert "one.test" in body
            for query in ("?page=2&still", "?page=x", "?page=99999999999", "?page=-1", "?%ff=%00"):
                assert (await self.get(f"/{query}")).startswith("HTTP/1.1 200"), query
            assert (await self.get("/press")).startswith("HTTP/1.1 405")
            assert (await self.get("/", "rebound.example")).startswith("HTTP/1.1 421")

        return Deferred.fromCoroutine(go())

    def test_pressing(self) -> Deferred[None]:
        """By the page: it is done, and the reader is led back to the page, which says so."""

        async def go() -> None:
            answer = await self.press()
            assert answer.startswith("HTTP/1.1 303"), answer
            assert "Location: /\r\n" in answer
            assert self.done == [{"site": "one.test"}]
            assert ">done</span>" in await self.get()
            assert (await self.press(Sec_Fetch_Site="")).startswith("HTTP/1.1 303")

        return Deferred.fromCoroutine(go())

    def test_pressing_by_others(self) -> Deferred[None]:
        """Other origins, rebound names, no origin at all, no token, other kinds of forms: nothing is done."""

        async def go() -> None:
            evil = "http://rebound.example"
            for answer, status in (
                (await self.press(Origin=evil, Sec_Fetch_Site="cross-site"), 403),
                (await self.press(Origin=evil, Sec_Fetch_Site=""), 403),
                (await self.press(Origin="null"), 403),
                (await self.press(Origin=""), 403),
                (await self.press(Sec_Fetch_Site="same-site"), 403),
                (await self.press(Sec_Fetch_Site="none"), 403),
                (await self.press(host="rebound.example", Origin=evil), 421),
                (await self.press(form=""), 403),
                (await self.press(form="button=renew+one.test+&token=" + "0" * 64), 403),
                (await self.press(form="a=1&" * 9), 403),
                (await self.press(form="x" * (MAX_FORM + 1)), 403),
                (await self.press(kind="text/plain"), 403),
                (await self.press(kind="multipart/form-data; boundary=x"), 400),
            ):
                assert answer.startswith(f"HTTP/1.1 {status}"), answer
            assert self.done == []

        return Deferred.fromCoroutine(go())

    def test_what_nobody_foresaw(self) -> Deferred[None]:
        """Is logged, and the page says so without a word of it; whoever asks for the head only gets that."""

        async def go() -> None:
            request = f"HEAD / HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n"
            head: bytes = await deferToThread(ask, self.address, request.encode())
            assert head.startswith(b"HTTP/1.1 200")
            assert head.endswith(b"\r\n\r\n")
            self.broken = True
            answer = await self.get()
            assert answer.startswith("HTTP/1.1 500")
            assert "ValueError" not in answer
            assert len(self.flushLoggedErrors(ValueError)) == 1

        return Deferred.fromCoroutine(go())
