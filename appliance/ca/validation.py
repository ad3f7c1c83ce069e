"""How the demo CA validates: HTTP-01 over real sockets (RFC 8555 section 8.3), or against a table in memory."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit, urlunsplit

from attrs import frozen
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from appliance.ca.model import Identifier
from appliance.ca.problems import problem
from appliance.errors import ApplianceError, Problem

PATH = "/.well-known/acme-challenge/"
MAX_REDIRECTS = 10
MAX_ANSWER = 4096
"""Bytes of an answer's body that are read."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADERS = Headers({"User-Agent": ["appliance-demo-ca"]})
_REDIRECTS = (301, 302, 303, 307, 308)


class Validator(Protocol):
    """Checks one challenge. No retries: the client decides whether to order again."""

    def __call__(self, identifier: Identifier, token: str, key_authorization: str) -> Deferred[None]:
        """Fires when the name is proven; fails with UnprovenError."""


class UnprovenError(ApplianceError):
    """The name was not proven; ``problem`` is what the client is told."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


def unproven(code: str, detail: str) -> UnprovenError:
    """The failure with a problem of this type: connection, dns, tls, unauthorized."""
    return UnprovenError(problem(code, detail))


@frozen
class TableValidator:
    """Looks the key authorization up where the server under test would: for time travel, without any network."""

    answer: Callable[[bytes], bytes | None]
    """The path to the key authorization, as ``PendingChallenges.answer`` gives it."""

    def __call__(self, identifier: Identifier, token: str, key_authorization: str) -> Deferred[None]:
        """At once."""
        found = self.answer((PATH + token).encode())
        if found is None:
            return fail(unproven("unauthorized", f"{identifier.value}: no challenge is presented for the token"))
        if found.rstrip() != key_authorization.encode():
            return fail(unproven("unauthorized", f"{identifier.value}: the key authorization presented is another"))
        return succeed(None)


def resolve_localhost(name: str) -> str | None:
    """Loopback for ``localhost`` and all below it (RFC 6761 section 6.3); None leaves the name to the system."""
    return "127.0.0.1" if name == "localhost" or name.endswith(".localhost") else None


class Http01:
    """Fetches ``http://NAME:PORT/.well-known/acme-challenge/TOKEN``, following redirects as Let's Encrypt does.

    ``resolve`` gives an address for a name, or None to ask the system. Redirects lead to the given two ports only;
    certificates are not verified on the way, for there may be none yet.
    """

    def __init__(
        self,
        reactor: Any,
        port: int = 80,
        tls_port: int = 443,
        resolve: Callable[[str], str | None] = resolve_localhost,
        timeout: float = 10.0,
    ) -> None:
        """``reactor`` provides IReactorTCP, IReactorTime and name resolution; ``timeout`` in seconds, for the whole."""
        self._reactor = reactor
        self._timeout = timeout
        self._ports = {"http": port, "https": tls_port}
        self._agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, resolve))

    def __call__(self, identifier: Identifier, token: str, key_authorization: str) -> Deferred[None]:
        """See Validator."""
        host = f"[{identifier.value}]" if ":" in identifier.value else identifier.value
        url = f"http://{host}:{self._ports['http']}{PATH}{token}"
        work = Deferred.fromCoroutine(self._validate(url, key_authorization.encode()))
        work.addTimeout(self._timeout, self._reactor)
        return work.addErrback(_explain, identifier.value, url)

    async def _validate(self, url: str, expected: bytes) -> None:
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._agent.request(
                b"GET", url.encode("ascii"), Headers({"User-Agent": ["appliance-demo-ca"]})
            )
            if response.code not in _REDIRECTS:
                return await _compare(response, url, expected)
            locations = response.headers.getRawHeaders("location") or [""]
            _abort(response)
            url = self._follow(url, locations[0])
        raise unproven("connection", f"{url}: more than {MAX_REDIRECTS} redirects")

    def _follow(self, url: str, location: str) -> str:
        """The redirect's target, moved to the port that stands for its scheme's default one."""
        wrong = unproven("connection", f"{url}: redirected to {location[:100]!r}, which is not HTTP(S) on our ports")
        try:
            target = urlsplit(urljoin(url, location))
            port = target.port
        except ValueError:
            raise wrong from None
        if target.scheme not in self._ports or not target.hostname:
            raise wrong
        ours = self._ports[target.scheme]
        if port not in (None, _DEFAULT_PORTS[target.scheme], ours):
            raise wrong
        host = f"[{target.hostname}]" if ":" in target.hostname else target.hostname
        return urlunsplit((target.scheme, f"{host}:{ours}", target.path, target.query, ""))


async def _compare(response: IResponse, url: str, expected: bytes) -> None:
    """RFC 8555 section 8.3: white space at the end does not count."""
    if response.code != 200:
        _abort(response)
        raise unproven("unauthorized", f"{url}: answered with status {response.code} instead of 200")
    body = await _read(response)
    if body.rstrip() != expected:
        raise unproven("unauthorized", f"{url}: the key authorization is not the expected one, but {body[:100]!r}")


def _read(response: IResponse) -> Deferred[bytes]:
    """At most MAX_ANSWER bytes of the body."""
    reader = _Reader()
    done: Deferred[bytes] = Deferred(lambda _: reader.give_up())
    reader.done = done
    response.deliverBody(reader)
    return done


def _abort(response: IResponse) -> None:
    """Close without reading the body."""
    reader = _Reader()
    response.deliverBody(reader)
    reader.give_up()


class _Reader(TwistedProtocol):
    """Collects the beginning of a body."""

    def __init__(self) -> None:
        self.data = b""
        self.done: Deferred[bytes] | None = None

    def give_up(self) -> None:
        """Close; whatever still comes is dropped."""
        self.done = None
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.done is not None:
            self.data = (self.data + data)[:MAX_ANSWER]
            if len(self.data) == MAX_ANSWER:
                self._finish()
                self.give_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._finish()

    def _finish(self) -> None:
        done, self.done = self.done, None
        if done is not None:
            done.callback(self.data)


def _explain(failure: Failure, name: str, url: str) -> Failure:
    """What the client is told: UnprovenError with RFC 8555's types."""
    if failure.check(UnprovenError):
        return failure
    reasons = getattr(failure.value, "reasons", None) or [failure]
    cause = reasons[-1]
    if cause.check(error.DNSLookupError):
        found = unproven("dns", f"{name}: no address found for it")
    elif cause.check(SSL.Error):
        found = unproven("tls", f"{url}: the redirect's TLS handshake failed")
    elif cause.check(error.ConnectionRefusedError):
        found = unproven("connection", f"{url}: connection refused")
    elif cause.check(DeferredTimeoutError, error.TimeoutError, CancelledError):
        found = unproven("connection", f"{url}: no answer in time")
    else:
        found = unproven("connection", f"{url}: {cause.getErrorMessage() or cause.type.__name__}")
    return Failure(found)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Where the validator's connections go."""

    def __init__(self, reactor: Any, resolve: Callable[[str], str | None]) -> None:
        self._reactor = reactor
        self._resolve = resolve

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        address = _literal(host) or self._resolve(host)
        endpoint: IStreamClientEndpoint
        if address is None:
            endpoint = HostnameEndpoint(self._reactor, host, uri.port, timeout=5)
        elif ":" in address:
            endpoint = TCP6ClientEndpoint(self._reactor, address, uri.port, timeout=5)
        else:
            endpoint = TCP4ClientEndpoint(self._reactor, address, uri.port, timeout=5)
        return wrapClientTLS(_UnverifiedTls(host), endpoint) if uri.scheme == b"https" else endpoint


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


@implementer(IOpenSSLClientConnectionCreator)
class _UnverifiedTls:
    """TLS to a redirect's target, with its name in SNI and without a look at its certificate."""

    def __init__(self, host: str) -> None:
        self._host = host

    def clientConnectionForTLS(self, tls_protocol: Any) -> SSL.Connection:
        connection = SSL.Connection(CertificateOptions().getContext(), None)
        if _literal(self._host) is None:
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection
