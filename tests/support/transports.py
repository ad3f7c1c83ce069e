"""Connections in memory that behave as sockets do: bounded queues, back-pressure, half-close, resets, pieces.

The appliance's end is Twisted's own ``FileDescriptor`` with the appliance's immediate writes and lingering close: so
producers, closing after what is queued and half-closing are the real thing, and only the socket below is two byte
strings. The test holds the other end, a `Peer`. A `Network` is the reactor of such connections: time is a
``task.Clock``, and nothing happens but in `Network.settle`, which every call of a peer ends with.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import error, main
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.tcp import _AbortingMixin
from twisted.python.failure import Failure

from appliance.net.immediate import ImmediateWrites
from appliance.net.lingering import Lingering, LingeringClose

_TURNS = 10_000
_READ = 64 * 1024

OPEN, FINISHED, RESET = "open", "finished", "reset"


class Network(Clock):
    """Readers, writers and time; ``listen`` says who accepts connections that the appliance opens."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: set[_Transport] = set()
        self._writers: set[_Transport] = set()
        self.listeners: dict[object, Callable[[Peer], None]] = {}
        """By ``(host, port)`` or path: called with the test's end of each new connection. Others refuse."""
        self.silent: set[object] = set()
        """Addresses that neither accept nor refuse."""
        self.talking: list[tuple[Peer, Callable[[], None]]] = []
        """Peers that speak by themselves, and what to call when something came for them."""
        self.dialled: list[object] = []
        """Every address that a connection was opened to, in order."""
        self.lingering = Lingering(self)
        """As a port's."""

    # what a FileDescriptor asks of its reactor

    def addReader(self, reader: _Transport) -> None:
        self._readers.add(reader)

    def removeReader(self, reader: _Transport) -> None:
        self._readers.discard(reader)

    def addWriter(self, writer: _Transport) -> None:
        self._writers.add(writer)

    def removeWriter(self, writer: _Transport) -> None:
        self._writers.discard(writer)

    # what a test asks

    def settle(self) -> None:
        """Let everything happen that can happen now."""
        for _ in range(_TURNS):
            # Twisted's own "now": calls that were made for 0 seconds later.
            self.advance(0)
            busy = [each for each in self._writers if each.can_write()]
            for each in busy:
                each.turn(each.doWrite, False)
            ready = [each for each in self._readers if each.can_read()]
            for each in ready:
                each.turn(each.doRead, True)
            told = [hear for peer, hear in self.talking if peer.incoming]
            for hear in told:
                hear()
            if not busy and not ready and not told and not any(call.getTime() <= self.seconds() for call in self.calls):
                return
        raise AssertionError("the connections never come to rest")

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Advance the clock in steps, everything happening in between."""
        while seconds > 0:
            self.advance(min(step, seconds))
            self.settle()
            seconds -= step

    def connect(self, protocol: Any, host: str = "192.0.2.7", port: int = 443) -> Peer:
        """A connection accepted by the appliance, for ``protocol``: the test's end of it."""
        peer = Peer(self)
        peer.protocol = protocol
        peer.transport = transport = _Accepted(self, peer, protocol, (host, 40000), ("192.0.2.1", port))
        protocol.makeConnection(transport)
        protocol.connectionMade()
        transport.startReading()
        self.settle()
        return peer

    def connect_tcp(self, reactor: Any, host: str, port: int, factory: Any, timeout: float = 30.0) -> _Connector:
        """Stands in for `immediate.connect_tcp`."""
        return _Connector(self, (host, port), factory, timeout)

    def connect_unix(self, reactor: Any, path: str, factory: Any, timeout: float = 30.0) -> _Connector:
        """Stands in for `immediate.connect_unix`."""
        return _Connector(self, path, factory, timeout)


class _Connector:
    """As ``tcp.Connector``: one attempt, told of by the factory."""

    def __init__(self, network: Network, address: object, factory: Any, timeout: float) -> None:
        self._network = network
        self._address = address
        self._factory = factory
        self._peer: Peer | None = None
        network.dialled.append(address)
        factory.doStart()
        factory.startedConnecting(self)
        self._timer = network.callLater(timeout, self._fail, error.TimeoutError())
        if address not in network.silent:
            network.callLater(0, self._connect)

    def _connect(self) -> None:
        if not self._timer.active():
            return
        accept = self._network.listeners.get(self._address)
        if accept is None:
            self._fail(error.ConnectionRefusedError(111, "Connection refused"))
            return
        self._timer.cancel()
        protocol = self._factory.buildProtocol(self._address)
        peer = Peer(self._network)
        peer.transport = transport = _Transport(
            self._network, peer, protocol, ("127.0.0.1", 8000), ("127.0.0.1", 50000)
        )
        accept(peer)
        transport.startReading()
        protocol.makeConnection(transport)
        protocol.connectionMade()

    def _fail(self, reason: Exception) -> None:
        if self._timer.active():
            self._timer.cancel()
        self._factory.clientConnectionFailed(self, Failure(reason))
        self._factory.doStop()

    def stopConnecting(self) -> None:
        """Give up."""
        self._fail(error.UserError())


class _Transport(ImmediateWrites, FileDescriptor, _AbortingMixin):  # type: ignore[misc]
    """The appliance's end, as ``tcp.Connection`` over a socket that is the peer's two queues."""

    def __init__(
        self, network: Network, peer: Peer, protocol: Any, remote: tuple[str, int], local: tuple[str, int]
    ) -> None:
        super().__init__(network)
        self.network = network
        self.peer = peer
        self.protocol = protocol
        self.connected = 1
        self._remote = IPv4Address("TCP", *remote)
        self._local = IPv4Address("TCP", *local)

    def getPeer(self) -> IPv4Address:
        return self._remote

    def getHost(self) -> IPv4Address:
        return self._local

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.peer.prompt = enabled

    def getHandle(self) -> None:
        """There is no socket."""

    def can_read(self) -> bool:
        return bool(self.peer.outgoing) or self.peer.state != OPEN

    def can_write(self) -> bool:
        return self.peer.room() > 0 or not (self.dataBuffer or self._tempDataBuffer) or self.peer.state == RESET

    def turn(self, method: Callable[[], Any], reading: bool) -> None:
        """As a reactor's ``_doReadOrWrite``."""
        if self.disconnected:
            return
        try:
            why = method()
        except Exception as exception:
            self.network.removeReader(self)
            self.network.removeWriter(self)
            self.connectionLost(Failure(exception))
            raise
        if not why:
            return
        self.network.removeReader(self)
        if why is main.CONNECTION_DONE and reading:
            self.readConnectionLost(Failure(why))
        else:
            self.network.removeWriter(self)
            self.connectionLost(Failure(why))

    def doRead(self) -> Any:
        peer = self.peer
        if peer.state == RESET:
            return main.CONNECTION_LOST
        if not peer.outgoing:
            return main.CONNECTION_DONE if peer.state == FINISHED else None
        piece = bytes(peer.outgoing[: peer.piece])
        del peer.outgoing[: peer.piece]
        self.protocol.dataReceived(piece)
        return None

    def writeSomeData(self, data: Any) -> Any:
        peer = self.peer
        if peer.state == RESET:
            return main.CONNECTION_LOST
        piece = bytes(data[: peer.room()])
        peer.incoming += piece
        peer.total += len(piece)
        return len(piece)

    def _closeWriteConnection(self) -> None:
        self.peer.ending = self.peer.ending or FINISHED
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()

    def readConnectionLost(self, reason: Failure) -> None:
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        if self.disconnected:
            return
        super().connectionLost(reason)
        unread = bool(self.peer.outgoing)  # closing a socket with unread data resets its connection
        self.peer.lost = RESET if unread or reason.check(error.ConnectionAborted) else FINISHED
        self.protocol.connectionLost(reason)


class _Accepted(LingeringClose, _Transport):  # type: ignore[misc]
    """A transport as `immediate.ImmediateServer`; its socket is what the lingering close asks of one."""

    def __init__(self, network: Network, peer: Peer, *arguments: Any) -> None:
        super().__init__(network, peer, *arguments)  # type: ignore[arg-type]
        self.socket = _Socket(peer)  # type: ignore[assignment]
        self.server = network


class _Socket:
    """The two methods of a socket that `lingering` uses."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def shutdown(self, how: int) -> None:
        if self._peer.state == RESET:
            raise ConnectionResetError
        self._peer.ending = FINISHED

    def recv(self, size: int) -> bytes:
        peer = self._peer
        if peer.state == RESET:
            raise ConnectionResetError
        if not peer.outgoing and peer.state == OPEN:
            raise BlockingIOError
        data = bytes(peer.outgoing[:size])
        del peer.outgoing[:size]
        return data


class Peer:
    """The test's end of a connection."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.transport: Any = None
        """The appliance's end."""
        self.protocol: Any = None
        """What the appliance accepted the connection with; another may have taken its place at the transport."""
        self.outgoing = bytearray()
        """Sent by the test, not yet read by the appliance."""
        self.incoming = bytearray()
        """Taken from the appliance, not yet looked at by the test."""
        self.total = 0
        """How many bytes came from the appliance in all."""
        self.capacity: float = float("inf")
        """How much may lie in ``incoming``: the socket's queue. 0: a peer that does not read."""
        self.piece = _READ
        """How much the appliance's end reads at once."""
        self.state = OPEN
        """What the test did with its half."""
        self.ending: str | None = None
        """What the appliance did with its half, `FINISHED`."""
        self.prompt = False
        """Whether the appliance asked for TCP_NODELAY."""
        self.lost: str | None = None
        """How the appliance closed both: `FINISHED` or `RESET`."""

    def room(self) -> int:
        """How much it would take now."""
        return int(min(max(self.capacity - len(self.incoming), 0), 1 << 30))

    @property
    def saw(self) -> str:
        """What the peer knows of the connection: `OPEN`, `FINISHED` (the appliance closed its half) or `RESET`."""
        return self.lost or self.ending or OPEN

    def send(self, data: bytes, piece: int | None = None) -> None:
        """Send; ``piece`` bytes at a time, if given, everything happening in between."""
        if piece is None:
            self.outgoing += data
            self.network.settle()
            return
        for start in range(0, len(data), piece):
            self.send(data[start : start + piece])

    def take(self) -> bytes:
        """What came since the last call."""
        return self.read(len(self.incoming))

    def read(self, count: int) -> bytes:
        """At most so many bytes of what came."""
        data = bytes(self.incoming[:count])
        del self.incoming[:count]
        self.network.settle()
        return data

    def finish(self) -> None:
        """Close the sending half."""
        self.state = FINISHED
        self.network.settle()

    def reset(self) -> None:
        """Break the connection off; what was sent and not read is lost."""
        self.state = RESET
        self.outgoing.clear()
        # A reactor sees a reset whatever it watches for, unless it watches for nothing.
        self.network.settle()
