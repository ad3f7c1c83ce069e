"""Writes that reach the socket at once. Twisted queues every write and waits for the reactor to say the socket is
writable: two ``epoll_ctl`` calls and a turn of the loop for each response. Here the queue is for what the socket
would not take."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is extended here)

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet import main, tcp, unix
from twisted.internet.error import ConnectionDone, ConnectionLost

from appliance.net.accepting import Accepted, AcceptingPort
from appliance.net.lingering import LingeringClose
from appliance.net.sharing import SharedPort
from appliance.net.unixport import UnixPort

if TYPE_CHECKING:
    from twisted.internet.abstract import FileDescriptor as _Descriptor
    from twisted.internet.tcp import Connection as _Connection
else:
    _Descriptor = _Connection = object


ASK_AFTER = 75
"""Seconds of silence after which the kernel asks whether the other end is there (tcp(7)): `ASK_TIMES` at the most."""
ASK_EVERY = 15
ASK_TIMES = 5

_PIECE = 128 * 1024
_buffer = bytearray(_PIECE)
_view = memoryview(_buffer)


class ImmediateWrites(_Descriptor):
    """Put before a ``FileDescriptor`` class: ``write`` sends at once while nothing is queued.

    What the socket does not take is queued by ``FileDescriptor``'s own machinery, so back-pressure, half-close and
    flushing before a close stay Twisted's. Nothing that happens in here is reported to the protocol before ``write``
    returns: after an error the data is queued, and the reactor's ``doWrite`` meets the same error again.
    """

    dispatched_directly = True  # see `dispatch`
    TLS = False  # as tcp.Connection has it: True once startTLS() has been called
    _aborting = False  # as tcp.Connection has it: True once abortConnection() has been called

    def write(self, data: bytes) -> None:
        """Send ``data``, in part or whole; queue the rest. See ``ITransport.write``."""
        if (
            self.dataBuffer
            or self._tempDataBuffer
            or data.__class__ is not bytes
            or self.TLS
            or (self.producer is not None and not self.streamingProducer)  # pull producers live on doWrite's calls
        ):
            super().write(data)
            return
        if not data or not self.connected or self._writeDisconnected or self._aborting:
            return
        sent = self.writeSomeData(data)
        if sent.__class__ is not int:
            sent = 0
        if sent != len(data):
            # Exactly the state in which doWrite leaves a partly sent buffer: no copy of the rest is made.
            self.dataBuffer = data
            self.offset = sent
            self._maybePauseProducer()
            self.startWriting()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send the pieces as one. See ``ITransport.writeSequence``."""
        if self.dataBuffer or self._tempDataBuffer or self.TLS:
            super().writeSequence(iovec)
        else:
            self.write(b"".join(iovec))


class DirectSocket(ImmediateWrites, _Connection):
    """And for TCP: one system call a read, one a write, and nothing of Twisted's in between.

    Small messages are read into one buffer for all connections, as there is one thread, and copied out: allocating
    for the most that might come costs more. After a read that filled it, the next is made straight into new memory.
    """

    _much = False

    def doRead(self) -> ConnectionLost | ConnectionDone | None:  # type: ignore[override]
        """See ``IReadDescriptor``."""
        try:
            if self._much:
                data = self.socket.recv(_PIECE)
                length = len(data)
            else:
                length = self.socket.recv_into(_buffer)
                data = _view[:length].tobytes()
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not length:
            return main.CONNECTION_DONE
        self._much = length == _PIECE
        self.protocol.dataReceived(data)
        return None

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """Send what the socket takes, up to ``SEND_LIMIT`` bytes: how many, or how the connection was lost."""
        if len(data) > self.SEND_LIMIT:
            data = memoryview(data)[: self.SEND_LIMIT]  # type: ignore[assignment]
        try:
            return int(self.socket.send(data))
        except BlockingIOError:
            return 0
        except OSError:
            return main.CONNECTION_LOST


class ImmediateServer(DirectSocket, LingeringClose, Accepted, tcp.Server):
    """An accepted TCP connection."""


class ImmediatePort(SharedPort, AcceptingPort):
    """A listening TCP socket whose connections write at once and never wait for Nagle."""

    transport = ImmediateServer
    _shouldShutdown = False  # which would end it for other processes that have the socket, see `process.inheritance`

    def createInternetSocket(self) -> socket.socket:
        """The socket to bind; one for every address (``::``) takes IPv4 too, whatever the system's default."""
        made: socket.socket = super().createInternetSocket()
        if self.addressFamily == socket.AF_INET6 and self.interface == "::":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return made

    def startListening(self) -> None:
        """Listen. Linux hands options down to what is accepted: one call here instead of one a connection."""
        super().startListening()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _miss_the_vanished(self.socket)


class ImmediateUnixServer(ImmediateWrites, unix.Server):
    """An accepted connection of a UNIX stream socket."""


class ImmediateUnixPort(SharedPort, UnixPort):
    """A listening UNIX stream socket whose connections write at once."""

    transport = ImmediateUnixServer


class ImmediateClient(DirectSocket, tcp.Client):
    """A TCP connection that we opened."""

    def createInternetSocket(self) -> socket.socket:
        """See ``tcp.Client``'s."""
        made: socket.socket = super().createInternetSocket()
        _miss_the_vanished(made)
        return made


def _miss_the_vanished(connection: socket.socket) -> None:
    """Have the kernel ask, over a connection that is silent, whether the other end is still there.

    A WebSocket may be silent for ever, and who lost the network, or power, says no goodbye.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASK_AFTER)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASK_EVERY)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, ASK_TIMES)


class ImmediateConnector(tcp.Connector):
    """Opens one ``ImmediateClient``; used like ``reactor.connectTCP``, see `connect_tcp`."""

    def _makeTransport(self) -> ImmediateClient:
        return ImmediateClient(self.host, self.port, self.bindAddress, self, self.reactor)


class ImmediateUnixClient(ImmediateWrites, unix.Client):
    """A connection that we opened to a UNIX stream socket."""


class ImmediateUnixConnector(unix.Connector):
    """Opens one ``ImmediateUnixClient``; see `connect_unix`."""

    def _makeTransport(self) -> ImmediateUnixClient:  # type: ignore[override]
        return ImmediateUnixClient(self.address, self, self.reactor, self.checkPID)


def connect_tcp(reactor: Any, host: str, port: int, factory: Any, timeout: float = 30.0) -> ImmediateConnector:
    """Like ``reactor.connectTCP``: ``host`` should be an IP address literal, as names are resolved in a thread."""
    connector = ImmediateConnector(host, port, factory, timeout, None, reactor)
    connector.connect()
    return connector


def connect_unix(reactor: Any, path: str, factory: Any, timeout: float = 30.0) -> ImmediateUnixConnector:
    """Like ``reactor.connectUNIX``."""
    connector = ImmediateUnixConnector(path, factory, timeout, reactor, 0)
    connector.connect()
    return connector
