"""The ACME transport (RFC 8555 section 6): bounded requests, nonces, signatures, errors in plain words.

Nothing here knows orders. Connections live in :class:`agent.CaAgent`, nonces and the directory in :class:`AcmeClient`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from attrs import field, frozen
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet import error as net
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import RESPONSES, PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from appliance.acme.jose import AccountKey
from appliance.acme.messages import Directory, parse_retry_after, problem_from_json, usable_url
from appliance.errors import AcmeConnectionError, AcmeError, AcmeProblemError, AcmeProtocolError, Problem

USER_AGENT = "appliance (Twisted; treq)"
MAX_ANSWER = 256 * 1024
"""Bytes. A chain is some ten thousand, an order of a hundred names twenty thousand."""
MAX_NONCES = 16
NONCE_ATTEMPTS = 24
"""A CA that refuses every second nonce defeats one request in sixteen million."""
DIRECTORY_AGE = 3600.0
"""Seconds for which a directory is believed."""
REQUEST_TIMEOUT = 30.0
"""Seconds for one request: connecting, sending, the whole answer."""

NONCE = re.compile(r"[A-Za-z0-9_-]{1,1024}\Z")
LINK = re.compile(r'\s*<([^>]*)>\s*;.*\brel="?([a-z-]+)"?', re.IGNORECASE)


@frozen
class Answer:
    """What the CA answered to one request that it did not refuse."""

    url: str
    status: int
    body: bytes = field(repr=False)
    location: str | None = None
    retry_after: float | None = None
    """Seconds."""
    alternates: tuple[str, ...] = ()
    """``Link: rel="alternate"``: other chains for the same certificate (RFC 8555 section 7.4.2)."""

    def json(self) -> object:
        """The decoded body. Raises AcmeProtocolError."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise AcmeProtocolError(f"{self.url} did not answer JSON: {error}") from error


class AcmeClient:
    """One CA's directory, and requests to it. Holds nonces; accounts are the caller's."""

    def __init__(
        self,
        clock: IReactorTime,
        agent: IAgent,
        directory_url: str,
        now: Callable[[], datetime],
        timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        """``now`` is only for Retry-After dates; ``timeout`` in seconds bounds each request whole."""
        self.directory_url = directory_url
        self._clock = clock
        self._http = HTTPClient(agent)
        self._now = now
        self._timeout = timeout
        self._nonces: list[str] = []
        self._directory: Directory | None = None
        self._directory_since = 0.0

    async def directory(self) -> Directory:
        """The CA's directory, asked for again when an hour old. Raises AcmeError subclasses."""
        if self._directory is None or self._clock.seconds() - self._directory_since > DIRECTORY_AGE:
            answer = await self._exchange("GET", self.directory_url, None, "directory")
            self._directory = Directory.from_json(answer.json())
            self._directory_since = self._clock.seconds()
        return self._directory

    async def get(self, url: str, step: str) -> Answer:
        """GET, unsigned: only renewal information is asked for so (RFC 9773 section 4.1). Raises as :meth:`post`."""
        return await self._exchange("GET", url, None, step)

    async def post(
        self, url: str, payload: object | None, *, key: AccountKey, kid: str | None = None, step: str
    ) -> Answer:
        """POST ``payload`` as JSON, signed; None makes it POST-as-GET. A nonce the CA does not like is replaced.

        ``step`` names what is being done, for errors. Raises AcmeProblemError for a refusal, AcmeConnectionError,
        AcmeProtocolError.
        """
        for _ in range(NONCE_ATTEMPTS):
            body = key.sign(payload, url=url, nonce=await self._nonce(), kid=kid)
            try:
                return await self._exchange("POST", url, body, step)
            except AcmeProblemError as error:
                if error.problem.code != "badNonce":
                    raise
                # The others are as old as this one; the one that came with the refusal is fresh.
                del self._nonces[:-1]
        raise AcmeConnectionError(f"{step}: {self.directory_url} refused {NONCE_ATTEMPTS} nonces in a row; try later")

    async def _nonce(self) -> str:
        if not self._nonces:
            directory = await self.directory()
            # Asking for a directory may bring nonces too, and other requests may have returned some meanwhile.
            if not self._nonces:
                await self._exchange("HEAD", directory.new_nonce, None, "new nonce")
        if not self._nonces:
            raise AcmeProtocolError(f"{self.directory_url}: the CA gives no nonces")
        return self._nonces.pop()

    async def _exchange(self, method: str, url: str, body: bytes | None, step: str) -> Answer:
        """One request and its whole answer, within the time-out."""
        if self.directory_url.startswith("https:") and not url.startswith("https:"):
            raise AcmeProtocolError(f"{step}: the CA wants to be asked over plain HTTP, at {url}")
        exchange = Deferred.fromCoroutine(self._talk(method, url, body))
        timed_out = f"{step}: {url} did not answer within {self._timeout:g} s; is the CA reachable from here?"
        exchange.addTimeout(self._timeout, self._clock, lambda result, _: _late(result, timed_out))
        try:
            response, content = await exchange
        except (AcmeError, CancelledError):
            raise
        except Exception as error:
            raise _plain(error, f"{step}: {url}") from error
        return self._judge(response, content, url, step)

    async def _talk(self, method: str, url: str, body: bytes | None) -> tuple[IResponse, bytes]:
        try:
            response = await self._send(method, url, body)
        except (ResponseNeverReceived, RequestTransmissionFailed) as error:
            # The CA closed a kept connection while we wrote on it. Had it read the request all the same, it refuses
            # this nonce now and gets the request signed anew: at worst an order too many, rather than one lost.
            if not all(reason.check(net.ConnectionClosed) for reason in error.reasons):
                raise
            response = await self._send(method, url, body)
        return response, b"" if method == "HEAD" else await _read(response, url)

    async def _send(self, method: str, url: str, body: bytes | None) -> IResponse:
        headers = Headers({"User-Agent": [USER_AGENT], "Accept-Language": ["en"]})
        if body is not None:
            headers.setRawHeaders("Content-Type", ["application/jose+json"])
        response = await self._http.request(
            method,
            url,
            headers=headers,
            data=None if body is None else _RequestBody(body),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,  # type: ignore[arg-type]  # treq would import the global one otherwise
        )
        original: IResponse = response.original
        return original

    def _judge(self, response: IResponse, content: bytes, url: str, step: str) -> Answer:
        nonce = _header(response, "Replay-Nonce")
        if nonce is not None and NONCE.match(nonce):
            self._nonces = [*self._nonces, nonce][-MAX_NONCES:]
        status = response.code
        retry_after = parse_retry_after(_header(response, "Retry-After"), self._now())
        if status >= 400:
            raise AcmeProblemError(_problem(content, status, retry_after), step)
        location = _header(response, "Location")
        if not 200 <= status < 300:
            raise AcmeProtocolError(
                f"{step}: {url} answered {status}{f' and points to {location[:200]!r}' if location else ''};"
                " put the CA's own address into acme.directory"
            )
        return Answer(
            url=url,
            status=status,
            body=content,
            location=None if location is None else usable_url(location, "answer", "Location"),
            retry_after=retry_after,
            alternates=_alternates(response),
        )


@implementer(IBodyProducer)
class _RequestBody:
    """A few kilobytes, sent at once; treq's own producer would ask the global reactor for turns."""

    def __init__(self, content: bytes) -> None:
        self.length = len(content)
        self._content = content

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


class _BoundedBody(Protocol):
    """Collects an answer up to MAX_ANSWER; cancelling ``done`` aborts the connection."""

    def __init__(self, url: str) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._url = url
        self._pieces: list[bytes] = []
        self._left = MAX_ANSWER

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._pieces.append(data)
        elif not self.done.called:
            self._abort()
            self.done.errback(AcmeProtocolError(f"{self._url} answered more than {MAX_ANSWER} bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):  # the latter ends answers without a length
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(reason)

    def _abort(self) -> None:
        # Twisted hands bodies a proxy of the transport that knows only the polite loseConnection, which over TLS
        # waits for a peer that may never answer.
        transport: Any = getattr(self.transport, "_producer", None) or self.transport
        getattr(transport, "abortConnection", transport.loseConnection)()


def _read(response: IResponse, url: str) -> Deferred[bytes]:
    body = _BoundedBody(url)
    response.deliverBody(body)
    return body.done


def _late(result: object, message: str) -> object:
    """What a cancelled exchange failed with does not matter: it took too long."""
    if isinstance(result, Failure):
        raise AcmeConnectionError(message)
    return result


def _header(response: IResponse, name: str) -> str | None:
    values = response.headers.getRawHeaders(name)
    return values[-1].strip() if values else None


def _alternates(response: IResponse) -> tuple[str, ...]:
    links = (LINK.match(value) for value in response.headers.getRawHeaders("Link") or ())
    return tuple(
        usable_url(link[1], "answer", "Link") for link in links if link is not None and link[2].lower() == "alternate"
    )


def _problem(content: bytes, status: int, retry_after: float | None) -> Problem:
    """The problem document in an answer; gateways in front of CAs send HTML, which becomes the bare status."""
    try:
        return problem_from_json(json.loads(content), status, retry_after)
    except (ValueError, RecursionError, AcmeProtocolError):
        phrase = RESPONSES.get(status, b"an unknown status").decode("ascii")
        return Problem(f"http:{status}", f"{phrase}, without a problem document", status, retry_after)


CONNECTION_TROUBLE: tuple[tuple[type[BaseException], str], ...] = (
    (net.DNSLookupError, "its name cannot be resolved; look at this machine's DNS"),
    (net.ConnectionRefusedError, "nothing listens there (connection refused)"),
    (net.TimeoutError, "connecting took too long; look at the route and the firewall"),
    (net.ConnectError, "no connection could be made"),
    (
        SSL.Error,
        "TLS failed; its certificate must be for the host in acme.directory, and for a private CA, acme.ca_file must"
        " hold the root",
    ),
    (net.ConnectionClosed, "it closed the connection before its answer was complete"),
)
"""The first that fits is said."""


def _plain(error: BaseException, where: str) -> BaseException:
    """An error of the layers below, in words; a cancellation stays one, however deep the layers wrapped it."""
    causes = _causes(error)
    if any(isinstance(cause, CancelledError | net.ConnectingCancelledError) for cause in causes):
        return CancelledError()
    for kind, words in CONNECTION_TROUBLE:
        for cause in causes:
            if isinstance(cause, kind):
                detail = _tls_detail(cause) if isinstance(cause, SSL.Error) else str(cause)
                return AcmeConnectionError(f"{where}: {words} ({detail or type(cause).__name__})")
    return AcmeProtocolError(f"{where}: what it answered is not HTTP ({causes[-1]!r})")


def _causes(error: BaseException) -> list[BaseException]:
    if isinstance(error, ResponseFailed | RequestTransmissionFailed | RequestGenerationFailed):
        return [error, *(cause for reason in error.reasons for cause in _causes(reason.value))]
    return [error]


def _tls_detail(error: SSL.Error) -> str:
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(str(reason[-1]) for reason in reasons)
