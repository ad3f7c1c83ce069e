"""What a TLS client really gets: a handshake with ourselves, over a socket of ours or in memory."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Any, cast

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.tls.snimap import SniMap

TIMEOUT = 10.0
"""Seconds for connecting, and again for the handshake."""
PARTING = 2.0
"""Seconds that the listener may take to close, too, once it was seen."""
_MOVES = 20
"""Flights of a handshake in memory; TLS has a handful."""
_RECORD = 64 * 1024


async def over_socket(reactor: Any, host: str, port: int, server_name: str) -> x509.Certificate:
    """The leaf that a listener proves ``server_name`` with; verified is nothing, for this only looks.

    Raises what the handshake failed with.
    """
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    endpoint = wrapClientTLS(_LookingTls(server_name), kind(reactor, host, port, timeout=int(TIMEOUT)))
    look = cast(_Look, await endpoint.connect(Factory.forProtocol(_Look)))
    leaf = await look.seen.addTimeout(TIMEOUT, reactor)
    with contextlib.suppress(TimeoutError):
        await look.gone.addTimeout(PARTING, reactor)
    return leaf


def in_memory(sni_map: SniMap, server_name: str) -> x509.Certificate:
    """The leaf that the map proves ``server_name`` with, where there is no socket to ask. Raises SSL.Error."""
    server = SSL.Connection(sni_map.fallback, None)
    server.set_accept_state()
    client = _client(server_name)
    client.set_connect_state()
    for _ in range(_MOVES):
        for here, there in ((client, server), (server, client)):
            _advance(here)
            _pass_on(here, there)
        leaf = client.get_peer_certificate(as_cryptography=True)
        if leaf is not None:
            return leaf
    raise SSL.Error("the handshake came to no end")


def _advance(connection: SSL.Connection) -> None:
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()


def _pass_on(here: SSL.Connection, there: SSL.Connection) -> None:
    with contextlib.suppress(SSL.WantReadError):
        there.bio_write(here.bio_read(_RECORD))


def loopback_for(host: str) -> str:
    """Where a listener bound to ``host`` is reached from this machine."""
    address = ipaddress.ip_address(host or "0.0.0.0")
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _client(server_name: str) -> SSL.Connection:
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    connection.set_tlsext_host_name(server_name.encode("ascii"))
    return connection


@implementer(IOpenSSLClientConnectionCreator)
class _LookingTls:
    """TLS that names a server and takes whatever certificate it shows."""

    def __init__(self, server_name: str) -> None:
        self._server_name = server_name

    def clientConnectionForTLS(self, tls_protocol: Any) -> SSL.Connection:
        return _client(self._server_name)


@implementer(IHandshakeListener)
class _Look(Protocol):
    """One handshake; ``seen`` fires with the certificate, or fails as the handshake did; ``gone`` at the very end."""

    def __init__(self) -> None:
        self.seen: Deferred[x509.Certificate] = Deferred(lambda _: self._abort())
        self.gone: Deferred[None] = Deferred(lambda _: self._abort())

    def handshakeCompleted(self) -> None:
        transport = cast(Any, self.transport)
        leaf = transport.getHandle().get_peer_certificate(as_cryptography=True)
        transport.loseConnection()  # an abort would take our Finished back: a failed handshake, in the listener's eyes
        if not self.seen.called:
            self.seen.callback(leaf)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.seen.called:
            self.seen.errback(reason)
        if not self.gone.called:
            self.gone.callback(None)

    def _abort(self) -> None:
        cast(Any, self.transport).abortConnection()
