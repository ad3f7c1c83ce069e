"""Listeners behind a load balancer that speaks the PROXY protocol: who the client is comes first, even before TLS.

A connection is accepted twice. First for its header alone, which is read off the socket to the byte; then, by the
listener's own factory and transport, as if the client had connected itself.
"""

# mypy: disable-error-code="no-untyped-call,override"
# (Twisted has no annotations for most of what is extended here)

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.net.deadlines import Deadlines
from appliance.net.proxyprotocol import LONGEST, Connection, Header, ProxyProtocolError, read_header

_LOG_SECONDS = 10.0

Network = IPv4Network | IPv6Network


class Announcing:
    """Who announces clients, and how long the announcement may take in seconds. One for all listeners."""

    log = Logger()

    def __init__(self, networks: Sequence[Network], deadlines: Deadlines, patience: float) -> None:
        self._networks = tuple(networks)
        self._patience = patience
        self._logged_at = float("-inf")
        self._unlogged = 0
        self.deadlines = deadlines

    def apply(self, networks: Sequence[Network], patience: float) -> None:
        """Have others announce clients from now on."""
        self._networks, self._patience = tuple(networks), patience

    def expect(self, port: Port) -> None:
        """Have ``port``, not listening yet, take connections with a header, and only from these networks."""
        factory: Any = _HeaderFactory(self, port.factory, _announced(port.transport))
        port.factory = factory
        port.transport = _HeaderTransport

    def includes(self, host: str) -> bool:
        """Whether a peer is one of them."""
        address = ip_address(host.partition("%")[0].removeprefix("::ffff:"))
        return any(address in network for network in self._networks)

    def deadline(self) -> float:
        """When a connection that begins now must have told its header."""
        return self.deadlines.seconds() + self._patience

    def refused(self, peer: str, why: str) -> None:
        """A connection was closed: for the log, now and then."""
        now = self.deadlines.seconds()
        if now - self._logged_at < _LOG_SECONDS:
            self._unlogged += 1
            return
        unlogged, self._unlogged, self._logged_at = self._unlogged, 0, now
        more = f" (and {unlogged} more since the last such line)" if unlogged else ""
        self.log.warn("Closed a connection from {peer}: {why}{more}", peer=peer, why=why, more=more)


@implementer(IProtocolFactory)
class _HeaderFactory:
    """Decides who may announce clients; knows what comes after the header."""

    def __init__(self, announcing: Announcing, factory: Any, transport: type[Server]) -> None:
        self.announcing = announcing
        self.factory = factory
        self.transport = transport
        self.doStart = factory.doStart
        self.doStop = factory.doStop

    def buildProtocol(self, address: Any) -> IProtocol | None:
        """See IProtocolFactory."""
        if not self.announcing.includes(address.host):
            self.announcing.refused(address.host, "it is not in proxy_protocol_from")
            return None
        return _HeaderProtocol(self.announcing)


@implementer(IProtocol)
class _HeaderProtocol:
    """The time a header may take; the transport reads it."""

    def __init__(self, announcing: Announcing) -> None:
        self._announcing = announcing
        self._transport: Any = None
        self.deadline = announcing.deadline()

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport
        self._announcing.deadlines.add(self)

    def connectionMade(self) -> None:
        """See IProtocol."""

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol: never called."""

    def connectionLost(self, reason: Failure) -> None:
        self.release()

    def release(self) -> None:
        """The time is not running any more."""
        self._announcing.deadlines.discard(self)

    def expire(self, now: float) -> None:
        self._announcing.refused(self._transport.client[0], "it did not send a PROXY protocol header in time")
        self._transport.abortConnection()


class _HeaderTransport(Server):
    """Reads a header, and not a byte more; then the socket is another transport's."""

    protocol: _HeaderProtocol
    client: tuple[Any, ...]
    server: Any
    _head = b""

    def doRead(self) -> Exception | None:
        factory: _HeaderFactory = self.server.factory
        try:
            data = self.socket.recv(LONGEST, socket.MSG_PEEK)
            if not data:
                return CONNECTION_DONE
            header = read_header(self._head + data)
            # Everything that an unfinished header has so far is its own.
            taken = self.socket.recv(len(data) if header is None else header.length - len(self._head))
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        except ProxyProtocolError as error:
            factory.announcing.refused(self.client[0], str(error))
            return CONNECTION_LOST
        if header is None:
            self._head += taken
        else:
            self._hand_over(factory, header)
        return None

    def _hand_over(self, factory: _HeaderFactory, header: Header) -> None:
        """Accept the connection once more, by the factory and transport that the port had."""
        self.stopReading()
        self.protocol.release()
        self.connected = 0
        client, tcp_socket, port = self.client, self.socket, self.server
        del self.socket, self.fileno
        if header.connection is not None:
            client = _sockaddr(header.connection.client, header.connection.client_port)
        protocol = factory.factory.buildProtocol(_address(*client[:2]))
        if protocol is None:
            tcp_socket.close()
            return
        transport = factory.transport(tcp_socket, protocol, client, port, self.sessionno, self.reactor)
        transport.announced = header.connection  # type: ignore[attr-defined]
        protocol.makeConnection(transport)


def _announced(transport: type[Server]) -> type[Server]:
    """A transport whose ends may be others than the socket's. Its peer it is told when it is made."""

    class Announced(transport):  # type: ignore[valid-type,misc]
        announced: Connection | None = None

        def getHost(self) -> IPv4Address | IPv6Address:
            if self.announced is None:
                return _address(*self.socket.getsockname()[:2])
            return _address(self.announced.server, self.announced.server_port)

        @property
        def local_port(self) -> int:
            return self.getHost().port

    return Announced


def _sockaddr(host: str, port: int) -> tuple[Any, ...]:
    return (host, port, 0, 0) if ":" in host else (host, port)


def _address(host: str, port: int) -> IPv4Address | IPv6Address:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
