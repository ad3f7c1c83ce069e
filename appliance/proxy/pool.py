"""Connections to one upstream address: the idle ones, and new ones."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from appliance.config import Timeouts, UpstreamAddress
from appliance.deadlines import Deadlines
from appliance.errors import UpstreamError
from appliance.immediate import connect_tcp, connect_unix
from appliance.proxy.connection import UpstreamConnection


class Dial:
    """One attempt to connect: ends with exactly one call of ``connected`` or ``failed``, unless it is cancelled."""

    noisy = False

    def __init__(
        self,
        pool: Pool,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[UpstreamError], None],
    ) -> None:
        self._pool = pool
        self._connected = connected
        self._failed = failed
        self._connector: Any = None
        self._cancelled = False

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._cancelled = True
        if self._connector is not None:
            self._connector.stopConnecting()

    def buildProtocol(self, address: IAddress) -> DialledConnection:
        """See IProtocolFactory."""
        return DialledConnection(self, self._pool)

    def made(self, connection: UpstreamConnection) -> None:
        """The connection stands."""
        self._connected(connection)

    def doStart(self) -> None:
        """See IProtocolFactory."""

    def doStop(self) -> None:
        """See IProtocolFactory."""

    def startedConnecting(self, connector: Any) -> None:
        """See IConnector."""
        self._connector = connector

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """See IConnector."""
        self._connector = None
        if not self._cancelled:
            self._failed(UpstreamError("connect", reason.getErrorMessage()))

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """See IConnector: the connection itself knows."""


class DialledConnection(UpstreamConnection):
    """A connection that tells its dial once it stands."""

    __slots__ = ("_dial", "_pool")

    def __init__(self, dial: Dial, pool: Pool) -> None:
        super().__init__(pool, pool.deadlines, pool.timeouts)
        self._pool = pool
        self._dial: Dial | None = dial

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        super().makeConnection(transport)
        self._pool.opened(self)
        dial, self._dial = self._dial, None
        assert dial is not None
        dial.made(self)


class Pool:
    """Owner of all connections to one address. The one used last is used next, so that a lull lets the others end."""

    def __init__(self, reactor: Any, address: UpstreamAddress, deadlines: Deadlines, timeouts: Timeouts) -> None:
        self.address = address
        self.deadlines = deadlines
        self.timeouts = timeouts
        self._reactor = reactor
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()
        self._closing = False

    @property
    def open(self) -> int:
        """How many connections stand, idle ones included."""
        return len(self._all)

    @property
    def idle(self) -> int:
        """How many of them wait for a request."""
        return len(self._idle)

    def take_idle(self, probe: bool) -> UpstreamConnection | None:
        """An idle connection, if there is a good one.

        ``probe`` looks whether the upstream has closed it meanwhile: for requests that could not be sent again.
        """
        now = self.deadlines.seconds()
        while self._idle:
            connection = self._idle.pop()
            if connection.deadline > now and not (probe and _has_news(connection)):
                return connection
            connection.close()
        return None

    def dial(self, connected: Callable[[UpstreamConnection], None], failed: Callable[[UpstreamError], None]) -> Dial:
        """Open a connection; see Dial."""
        dial = Dial(self, connected, failed)
        address = self.address
        factory: Any = dial
        if address.tls:
            factory = TLSMemoryBIOFactory(optionsForClientTLS(address.host), True, factory)
        if address.path:
            connect_unix(self._reactor, address.path, factory, self.timeouts.connect)
        else:
            connect_tcp(self._reactor, address.host, address.port, factory, self.timeouts.connect)
        return dial

    def opened(self, connection: UpstreamConnection) -> None:
        """A connection stands."""
        self._all.add(connection)

    def released(self, connection: UpstreamConnection) -> None:
        """See connection.Owner."""
        if self._closing:
            connection.close()
        else:
            self._idle.append(connection)

    def closed(self, connection: UpstreamConnection) -> None:
        """See connection.Owner."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close the idle connections now and the others when they are released."""
        self._closing = True
        for connection in list(self._idle):
            connection.close()


def _has_news(connection: UpstreamConnection) -> bool:
    """Whether an idle connection's socket has something to read: bytes nobody asked for, or its end."""
    handle = connection.transport.getHandle()
    if not isinstance(handle, socket.socket):
        return False
    try:
        handle.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
