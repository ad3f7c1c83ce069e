"""Connections to one upstream address: the idle ones, and new ones."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectBindError
from twisted.python.failure import Failure

from appliance.config import Backend, Timeouts, UpstreamAddress
from appliance.errors import UpstreamError
from appliance.net import proxyprotocol
from appliance.net.deadlines import Deadlines
from appliance.net.immediate import connect_tcp, connect_unix
from appliance.proxy.connection import UpstreamConnection
from appliance.proxy.dial import Dial, DialledConnection, SecureConnection, UpstreamTls
from appliance.proxy.exchange import Carrier
from appliance.proxy.hostnames import HostNames

DIALS_AT_ONCE = 64
"""Connections being opened at once to one address: no more than a listening socket's queue is likely to hold."""


class Pool:
    """Owner of all connections to one address. The one used last is used next, so that a lull lets the others end."""

    http2 = False
    """Whether TLS offers that by ALPN, or HTTP/1.1."""

    def __init__(
        self,
        reactor: Any,
        address: UpstreamAddress,
        deadlines: Deadlines,
        timeouts: Timeouts,
        backend: Backend,
        *,
        names: HostNames | None = None,
    ) -> None:
        """With ``backend.send_proxy`` each connection is about one client's one request.

        Raises OSError or ValueError over ``backend.ca_file``.
        """
        self.reactor = reactor
        self.address = address
        self.name = str(address)
        self.deadlines = deadlines
        self.timeouts = timeouts
        self.names = names or HostNames(reactor)
        self.tls = UpstreamTls(address.host, backend.ca_file, http2=self.http2) if address.tls else None
        self.dialling = 0
        """How many connections are being opened."""
        self.freed: Callable[[Carrier | None], None] | None = None
        """While somebody wants to know: called when a connection came back, was closed (with it) or dialled (None)."""
        self.blamed: Callable[[UpstreamError], None] | None = None
        """Called when a request failed by the upstream's fault."""
        self._announce = proxyprotocol.WRITERS[backend.send_proxy] if backend.send_proxy else None
        self._most = backend.max_connections
        self._turn = 0
        self._idle: list[UpstreamConnection] = []
        self._all: set[Any] = set()
        self._keeps = self._announce is None
        self._closing = False

    @property
    def open(self) -> int:
        """How many connections stand, idle ones included."""
        return len(self._all)

    @property
    def idle(self) -> int:
        """How many of them wait for a request."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """How much is being asked of it: connections in use or being opened."""
        return len(self._all) - len(self._idle) + self.dialling

    @property
    def ready(self) -> bool:
        """Whether one more request may be sent, at once or when a connection is open."""
        return self.room or bool(self._idle)

    @property
    def room(self) -> bool:
        """Whether one more may be opened."""
        dialling = self.dialling
        return dialling < DIALS_AT_ONCE and (self._most is None or len(self._all) + dialling < self._most)

    @property
    def announces(self) -> bool:
        """Whether connections begin with the PROXY protocol."""
        return self._announce is not None

    def turn(self) -> int:
        """A number that grows by one each time."""
        self._turn += 1
        return self._turn

    def take_idle(self, probe: bool) -> Carrier | None:
        """An idle connection, if there is a good one.

        ``probe`` looks whether the upstream has closed it meanwhile: for requests that could not be sent again.
        """
        now = self.deadlines.seconds()
        while self._idle:
            connection = self._idle.pop()
            if connection.deadline > now and not (probe and has_news(connection)):
                return connection
            connection.close()
        return None

    def dial(
        self,
        connected: Callable[[Any], None],
        failed: Callable[[UpstreamError], None],
        client: proxyprotocol.Connection | None = None,
    ) -> Dial:
        """A connection to be opened, whatever the bound; see Dial. ``client`` is whom it is for, if anybody."""
        return Dial(self, connected, failed, self._announce(client) if self._announce is not None else b"")

    def build(self, dial: Dial) -> Any:
        """The protocol of a connection that ``dial`` opens."""
        return (DialledConnection if self.tls is None else SecureConnection)(dial)

    def connect(self, host: str, factory: Any, timeout: float) -> None:
        """Have the reactor connect to the UNIX socket, or to the port at ``host``, an IP address; see Dial."""
        address = self.address
        if address.path:
            try:
                connect_unix(self.reactor, address.path, factory, timeout)
            except OSError as error:  # there is no socket to be had; over TCP Twisted reports that as it should
                factory.clientConnectionFailed(None, Failure(ConnectBindError(error.errno, error.strerror)))
        else:
            connect_tcp(self.reactor, host, address.port, factory, timeout)

    def opened(self, connection: Any) -> None:
        """A connection stands."""
        self._all.add(connection)
        if not self.address.path:  # else Nagle holds a body's pieces, and messages, back for 40 ms each
            connection.transport.setTcpNoDelay(True)

    def dialled(self) -> None:
        """A dial has ended."""
        if self.freed is not None:
            self.freed(None)

    def released(self, connection: Any) -> None:
        """See connection.Owner."""
        if not self._keeps:
            connection.close()
            return
        self._idle.append(connection)
        if self.freed is not None:
            self.freed(connection)

    def closed(self, connection: UpstreamConnection) -> None:
        """See connection.Owner."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self.freed is not None:
            self.freed(connection)

    def failed(self, error: UpstreamError) -> None:
        """See connection.Owner."""
        if self.blamed is not None:
            self.blamed(error)

    def leave(self) -> None:
        """Close the idle connections now and the others when they are released, until ``stay``."""
        self._keeps = False
        for connection in list(self._idle):
            connection.close()

    def stay(self) -> None:
        """Keep connections again."""
        self._keeps = self._announce is None and not self._closing

    def close(self) -> None:
        """Close the idle connections now and the others when they are released, for good."""
        self._closing = True
        self.leave()


def has_news(connection: Any) -> bool:
    """Whether an idle connection's socket has something to read: bytes nobody asked for, or its end."""
    transport = connection.transport
    handle = getattr(getattr(transport, "transport", transport), "socket", None)  # below TLS, where there is TLS
    if not isinstance(handle, socket.socket):
        return False
    try:
        handle.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
