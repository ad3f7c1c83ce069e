"""Accepting TCP connections, and what each costs before its first byte.

Twisted's own loop buffers log events, builds two names for the log, asks the resolver's library for every IPv6 address,
and is called within a logging context. What it does against a lack of descriptors is still its own.
"""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is extended here)

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet import address, tcp
from twisted.logger import Logger
from twisted.python.failure import Failure

from appliance.net.lingering import Lingering

if TYPE_CHECKING:
    from twisted.internet.tcp import Server as _Server
else:
    _Server = object

_log = Logger()


class Accepted(_Server):
    """Put before ``tcp.Server``: made with what a connection needs to begin, and named for the log when that asks."""

    def __init__(
        self, sock: socket.socket, protocol: Any, client: tuple[Any, ...], server: Any, sessionno: int, reactor: Any
    ) -> None:
        """See ``tcp.Server``."""
        sock.setblocking(False)
        self.reactor = reactor
        self._tempDataBuffer = []
        self._tempDataLen = 0
        self.socket = sock
        self.fileno = sock.fileno
        self.protocol = protocol
        if len(client) != 2:
            self._addressType = address.IPv6Address
        self.server = server
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        self.connected = 1
        self.startReading()

    @property
    def logstr(self) -> str:  # type: ignore[override]
        """What Twisted puts before messages of its old logging."""
        return f"{self._getLogPrefix(self.protocol)},{self.sessionno},{self.hostname}"

    @property
    def repstr(self) -> str:  # type: ignore[override]
        """Who this is, for people."""
        protocol = getattr(self, "protocol", None)  # gone after the end
        return f"<{type(protocol).__name__} #{self.sessionno} on {self.server._realPortNumber}>"

    @property
    def local_port(self) -> int:
        """The port that the client connected to."""
        return int(self.socket.getsockname()[1])


class AcceptingPort(tcp.Port):
    """A ``tcp.Port`` whose ``transport`` is an `Accepted`."""

    dispatched_directly = True  # see `dispatch`
    lingering: Lingering
    """Those of its connections that wait for their clients' ends."""

    def startListening(self) -> None:
        """See ``IListeningPort``."""
        clock: Any = self.reactor
        self.lingering = Lingering(clock)
        super().startListening()

    def connectionLost(self, reason: Failure) -> None:
        """Listening is over."""
        super().connectionLost(reason)
        self.lingering.stop()

    def doRead(self) -> None:
        """Accept those who wait, as many as there have been lately."""
        accepted = 0
        while accepted < self.numberAccepts:
            try:
                made, client = self.socket.accept()
            except BlockingIOError:
                break
            except OSError:  # which it meets again
                super().doRead()
                return
            accepted += 1
            try:
                self._accepted(made, client)
            except Exception:
                made.close()
                _log.failure("A client could not be accepted on {port}", port=self._realPortNumber)
        self.numberAccepts = accepted + 20 if accepted == self.numberAccepts else max(1, accepted)

    def _accepted(self, made: socket.socket, client: tuple[Any, ...]) -> None:
        if len(client) == 4 and client[3]:  # of a link: its scope belongs to the address
            client = (socket.getnameinfo(client, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0], *client[1:])
        factory: Any = self.factory
        protocol = factory.buildProtocol(self._buildAddr(client))
        if protocol is None:
            made.close()
            return
        number = self.sessionno
        self.sessionno = number + 1
        protocol.makeConnection(self.transport(made, protocol, client, self, number, self.reactor))
