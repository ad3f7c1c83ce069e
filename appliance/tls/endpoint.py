"""Endpoint strings to listening ports of ours: what ``serverFromString`` takes for a reactor.

``serverFromString(TlsListening(reactor, sni_map), "tcp:443")`` listens with TLS on the socket, and so does
``systemd:domain=INET6:name=https``. A ``unix:`` one gets Twisted's own TLS: hardly anyone needs it, but it works.
"""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is extended here)

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from appliance.net.announced import Announcing
from appliance.net.immediate import ImmediatePort, ImmediateUnixPort
from appliance.net.opening import leave_to_others
from appliance.tls.snimap import SniMap, is_proof
from appliance.tls.transport import TlsPort

BACKLOG = 511
"""Connections that the kernel holds until we accept them. Twisted's 50 are soon used up when many come at once."""


class PlainListening:
    """Listens without TLS; stands for the reactor in ``serverFromString``."""

    _tcp_port = ImmediatePort

    def __init__(self, reactor: Any, announcing: Announcing | None = None) -> None:
        """With ``announcing``, TCP connections must begin with the PROXY protocol."""
        self._reactor = reactor
        self._announcing = announcing

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = BACKLOG, interface: str = ""
    ) -> IListeningPort:
        """``IReactorTCP.listenTCP``; ``backlog`` is at least `BACKLOG`. Raises ``CannotListenError``.

        Without an ``interface`` it listens on every address, IPv6 ones included: a name with an AAAA record is reached
        over IPv6 first, by browsers and CAs alike.
        """
        backlog = max(backlog, BACKLOG)
        if not interface:
            try:
                return self._listen(self._tcp_port(port, factory, backlog, "::", self._reactor))
            except (CannotListenError, OSError) as error:
                if _number(error) not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # a machine without IPv6
                    raise
        return self._listen(self._tcp_port(port, factory, backlog, interface, self._reactor))

    def listenUNIX(
        self, address: bytes, factory: IProtocolFactory, backlog: int = BACKLOG, mode: int = 0o666, wantPID: int = 0
    ) -> IListeningPort:
        """``IReactorUNIX.listenUNIX``; ``backlog`` is at least `BACKLOG`. Raises ``CannotListenError``.

        ``wantPID`` asks for a lock, which is not needed: see `net.unixport`.
        """
        factory = self._unix_factory(factory)
        return self._listen(ImmediateUnixPort(address, factory, max(backlog, BACKLOG), mode, self._reactor))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        """``IReactorSocket.adoptStreamPort``: a listening socket that somebody else made, systemd above all.

        The descriptor is duplicated; the caller closes its own. Of which family it is, it says itself: what systemd
        opens for ``ListenStream=443`` takes IPv4 and IPv6. A UNIX socket keeps its name and mode.
        """
        with socket.socket(fileno=os.dup(fileDescriptor)) as adopted:
            family = adopted.family
        if family == socket.AF_UNIX:
            factory = self._unix_factory(factory)
            port = ImmediateUnixPort._fromListeningDescriptor(self._reactor, fileDescriptor, factory)
            leave_to_others(port)
            return self._listen(port)
        return self._listen(self._tcp_port._fromListeningDescriptor(self._reactor, fileDescriptor, family, factory))

    def _unix_factory(self, factory: IProtocolFactory) -> IProtocolFactory:
        return factory

    def _listen(self, port: Any) -> IListeningPort:
        if self._announcing is not None and isinstance(port, ImmediatePort):
            self._announcing.expect(port)
        port.startListening()
        listening: IListeningPort = port
        return listening


def _number(error: CannotListenError | OSError) -> int | None:
    cause = error.socketError if isinstance(error, CannotListenError) else error
    return getattr(cause, "errno", None)


class TlsListening(PlainListening):
    """Listens with TLS, certificates by ``sni_map``; stands for the reactor in ``serverFromString``."""

    _tcp_port = TlsPort

    def __init__(self, reactor: Any, sni_map: SniMap, announcing: Announcing | None = None) -> None:
        super().__init__(reactor, announcing)
        self._sni_map = sni_map

    def _unix_factory(self, factory: IProtocolFactory) -> IProtocolFactory:
        wrapping = TLSMemoryBIOFactory(FallbackConnections(self._sni_map), False, factory, self._reactor)
        wrapping.protocol = _challengeable(self._sni_map)
        return wrapping

    def _listen(self, port: Any) -> IListeningPort:
        if isinstance(port, TlsPort):
            port.sni_map = self._sni_map
        return super()._listen(port)


@implementer(IOpenSSLServerConnectionCreator)
class FallbackConnections:
    """For ``TLSMemoryBIOFactory``: handshakes that learn the server name from OpenSSL's callback."""

    def __init__(self, sni_map: SniMap) -> None:
        self._sni_map = sni_map

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A server connection over memory BIOs. Its app data becomes what is served, see `served_certificate`."""
        return SSL.Connection(self._sni_map.fallback, None)


def _challengeable(sni_map: SniMap) -> type[BufferingTLSTransport]:
    """Twisted's TLS protocol, which answers TLS-ALPN-01 too, and closes after that."""

    class ChallengeableTls(BufferingTLSTransport):
        def dataReceived(self, data: bytes) -> None:
            connection = self.getHandle()
            sni_map.watch(connection, data)
            super().dataReceived(data)
            if is_proof(connection) and connection.get_peer_finished() is not None:
                self.loseConnection()

    return ChallengeableTls
