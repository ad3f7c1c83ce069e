"""HTTPS to CAs: whom it trusts, and the connections it keeps."""

from __future__ import annotations

import re
from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.internet._sslverify import IOpenSSLTrustRoot  # exported nowhere else
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from appliance.errors import AcmeError
from appliance.tls.peername import require_name

CONNECT_TIMEOUT = 10.0
IDLE_TIMEOUT = 5
"""Seconds an idle connection is kept: less than servers do, for a POST on a closing one cannot be repeated blindly."""


@implementer(IOpenSSLTrustRoot)
class _SystemAnd:
    """What the system trusts, and some more: Twisted has either, so both are put on the same context in turn."""

    def __init__(self, certificates: list[Certificate]) -> None:
        self._roots = (platformTrust(), trustRootFromCertificates(certificates))

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        for root in self._roots:
            root._addCACertsToContext(context)


def _trust(ca_file: Path | None) -> object:
    if ca_file is None:
        return platformTrust()
    try:
        blocks = re.findall(
            rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", ca_file.read_bytes(), re.DOTALL
        )
        certificates = [Certificate.loadPEM(block) for block in blocks]
    except (OSError, crypto.Error) as error:
        raise AcmeError(f"acme.ca_file {ca_file} cannot be read: {error}") from error
    if not certificates:
        raise AcmeError(f"acme.ca_file {ca_file} holds no PEM certificate")
    return _SystemAnd(certificates)


@implementer(IPolicyForHTTPS)
class _NamesRequired:
    """A policy for TLS to CAs that also refuses certificates without names; see ``tls.peername``."""

    def __init__(self, policy: BrowserLikePolicyForHTTPS) -> None:
        self._policy = policy

    def creatorForNetloc(self, hostname: bytes, port: int) -> _NameRequired:
        return _NameRequired(self._policy.creatorForNetloc(hostname, port), hostname.decode("ascii"))


@implementer(IOpenSSLClientConnectionCreator)
class _NameRequired:
    def __init__(self, creator: IOpenSSLClientConnectionCreator, host: str) -> None:
        self._creator = creator
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection: SSL.Connection = self._creator.clientConnectionForTLS(tlsProtocol)
        require_name(connection, self._host)
        return connection


@implementer(IAgent)
class CaAgent:
    """Verified HTTPS to CAs, over connections that are kept for a moment. ``close`` it when the service stops."""

    def __init__(self, reactor: IReactorTime, ca_file: Path | None = None) -> None:
        """``ca_file``: PEM certificates trusted beside the system's. Raises AcmeError when it cannot be used."""
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.cachedConnectionTimeout = IDLE_TIMEOUT
        policy = _NamesRequired(BrowserLikePolicyForHTTPS(trustRoot=_trust(ca_file)))
        self._agent = Agent(reactor, policy, connectTimeout=CONNECT_TIMEOUT, pool=self._pool)

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See IAgent."""
        return self._agent.request(method, uri, headers, bodyProducer)

    def close(self) -> Deferred[None]:
        """Close idle connections; fires when they are closed. Requests under way are their callers' to cancel."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed
