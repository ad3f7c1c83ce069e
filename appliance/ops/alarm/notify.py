"""The ways in which somebody is told: a webhook, a program, mail."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping
from email.message import EmailMessage
from http.client import InvalidURL
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from appliance.acme.dns.process import run
from appliance.config.alarm import Alarm
from appliance.errors import ApplianceError
from appliance.ops.alarm.concern import Message
from appliance.store import Defer

TIMEOUT = 60.0
"""Seconds for one way to take one message."""
_WEB_TIMEOUT = 30.0
_PROGRAM_TIMEOUT = 50.0

_log = Logger()

Way = Callable[[Message], Coroutine[Deferred[Any], Any, None]]


class NotSentError(ApplianceError):
    """A way that did not take a message: which, and why."""


class Notifier:
    """Sends messages by all ways that are set up."""

    def __init__(self, reactor: Any, settings: Alarm, defer: Defer) -> None:
        """``reactor`` provides IReactorProcess and IReactorTime; ``defer`` runs what blocks in a thread."""
        self._reactor = reactor
        self._defer = defer
        self._settings = settings
        self._host = socket.getfqdn() if settings.email else socket.gethostname()

    def apply(self, settings: Alarm) -> None:
        """Go by these from now on."""
        self._settings = settings

    async def send(self, message: Message) -> bool:
        """Whether any way took it; those that did not are logged."""
        taken = False
        for name, way in self._ways():
            try:
                await Deferred.fromCoroutine(way(message)).addTimeout(TIMEOUT, self._reactor)
                taken = True
                _log.info("alarm by {way} about {site}: {text}", way=name, site=message.site, text=message.text)
            except Exception as error:
                _log.error(
                    "{site}: the alarm could not be sent by {way}: {error}; it was: {text}",
                    way=name,
                    site=message.site,
                    text=message.text,
                    error=str(error) or repr(error),
                )
        return taken

    def _ways(self) -> Iterator[tuple[str, Way]]:
        if self._settings.webhook is not None:
            yield "webhook", self._post
        if self._settings.command:
            yield "command", self._run
        if self._settings.email is not None:
            yield "email", self._mail

    async def _post(self, message: Message) -> None:
        url, content = self._settings.webhook or "", json.dumps(self.document(message)).encode()
        await self._defer(lambda: _post(url, content))

    async def _run(self, message: Message) -> None:
        document = self.document(message)
        environment = {f"APPLIANCE_{key.upper()}": str(document[key]) for key in ("event", "site", "kind", "message")}
        await self._program(self._settings.command, environment, json.dumps(document).encode())

    async def _mail(self, message: Message) -> None:
        mail = EmailMessage()
        document = self.document(message)
        mail["To"] = self._settings.email
        mail["Subject"] = f"{'Well again' if message.recovered else 'Certificate alarm'}: {message.site}"
        mail["Auto-Submitted"] = "auto-generated"
        since = document["since"]
        mail.set_content(
            f"{message.site} {message.text}\n\nSince {since}, on {self._host}.\n"
            f"Look with: appliance status {message.site}; appliance doctor {message.site}\n"
        )
        await self._program((str(self._settings.sendmail), "-i", "-t"), {}, mail.as_bytes())

    async def _program(self, command: tuple[str, ...], environment: Mapping[str, str], stdin: bytes) -> None:
        try:
            ended = await run(self._reactor, command, {**os.environ, **environment}, _PROGRAM_TIMEOUT, stdin)
        except OSError as error:
            raise NotSentError(f"{command[0]} cannot be started: {error.strerror}") from error
        if ended.problem:
            raise NotSentError(f"{command[0]} failed: {ended.words()}")

    def document(self, message: Message) -> dict[str, Any]:
        """What webhook and command get."""
        return {
            "event": "recovered" if message.recovered else "alarm",
            "site": message.site,
            "kind": message.kind,
            "message": f"{message.site} {message.text}",
            "since": message.since.isoformat(),
            "host": self._host,
        }


def _post(url: str, content: bytes) -> None:
    """Blocks. Raises NotSentError for any answer but 2xx, else OSError; neither has the URL, which may be a secret."""
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.hostname}"
    headers = {"Content-Type": "application/json", "User-Agent": "appliance"}
    request = urllib.request.Request(url, content, headers)
    try:
        urllib.request.build_opener(_NoRedirects).open(request, timeout=_WEB_TIMEOUT).close()
    except HTTPError as error:
        error.close()
        raise NotSentError(f"{where} answered {error.code}") from None
    except InvalidURL:
        raise NotSentError(f"{where} cannot be asked so: correct webhook of [alarm]") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, which tells nobody anything."""

    def redirect_request(self, *_: Any) -> None:
        """None makes it an error."""
