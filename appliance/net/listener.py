"""Endpoints that accept clients: each accepted connection gets its protocol here, and is waited for at the end."""

from __future__ import annotations

import errno
import heapq
from collections.abc import Callable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.config import Limits, Timeouts
from appliance.errors import ListenError
from appliance.http.http2 import Http2Connection
from appliance.http.observing import Observer
from appliance.http.server import ServerConnection
from appliance.http.serving import Handler
from appliance.net.admission import Admission
from appliance.net.deadlines import Deadlines
from appliance.net.opening import leave_to_others, open_port
from appliance.net.sharing import SharedPort
from appliance.net.turn import Turn
from appliance.process.inheritance import Inheritance
from appliance.tls.context import HTTP_2


class ClientConnection(Protocol):
    """A client's connection of whatever HTTP version."""

    deadline: float

    @property
    def resting(self) -> bool:
        """Whether it only waits for a next request, having answered others."""

    def drain(self) -> None:
        """Let what is under way come to its end and take nothing else."""

    def retire(self) -> None:
        """End when that disturbs nobody: after a next request, not before a tunnel ends by itself."""

    def abort(self) -> None:
        """End at once."""


@implementer(IProtocolFactory)
class ClientFactory:
    """Makes the protocol of every client admitted, and knows those that are open.

    All begin as HTTP/1.1. With a ``turn``, those whose handshake agrees on HTTP/2 go on as that.
    """

    def __init__(
        self,
        handler: Handler,
        deadlines: Deadlines,
        admission: Admission,
        limits: Limits,
        timeouts: Timeouts,
        scheme: bytes,
        observer: Observer | None = None,
        turn: Turn | None = None,
    ) -> None:
        self._handler = handler
        self._deadlines = deadlines
        self._admission = admission
        self._limits = limits
        self._timeouts = timeouts
        self._scheme = scheme
        self._observer = observer
        self._turn = turn
        self._secured = self._choose_version if turn is not None else None
        self.accepted = 0
        """How many clients there were so far."""
        self.open: dict[ClientConnection, str] = {}
        """Every connection, with what the admission is to be told at its end."""
        self._waiting_for_end: list[Deferred[None]] = []
        self._retiring = False
        admission.add_shed(self.shed)

    def apply(self, limits: Limits, timeouts: Timeouts, observer: Observer | None, http2: bool) -> None:
        """Have these for clients that connect from now on; HTTP/2 needs the ``turn``."""
        self._limits, self._timeouts, self._observer = limits, timeouts, observer
        self._secured = self._choose_version if http2 and self._turn is not None else None

    def doStart(self) -> None:
        """See IProtocolFactory."""

    def doStop(self) -> None:
        """See IProtocolFactory."""

    def buildProtocol(self, address: IAddress | None) -> ServerConnection | None:
        """See IProtocolFactory. None, which closes the connection at once, if there are too many."""
        client = self._admission.admit(address.host if isinstance(address, IPv4Address | IPv6Address) else "")
        if client is None:
            return None
        connection = ServerConnection(
            self._handler,
            self._deadlines,
            self._limits,
            self._timeouts,
            self._scheme,
            self._gone,
            self._observer,
            self._secured,
        )
        self.accepted += 1
        self.open[connection] = client
        return connection

    def _choose_version(self, connection: ServerConnection) -> None:
        """The handshake is over: have HTTP/2 speak from here on if ALPN says so."""
        if connection.transport.negotiatedProtocol != HTTP_2:
            return
        assert self._turn is not None
        successor = Http2Connection(
            self._handler,
            self._deadlines,
            self._turn,
            self._limits,
            self._timeouts,
            self._gone,
            self._observer,
            connection.tls,
        )
        self.open[successor] = self.open.pop(connection)
        connection.hand_over(successor)
        if self._retiring:
            successor.retire()

    def drain(self) -> None:
        """End every connection after its request in flight; WebSockets are told."""
        for connection in list(self.open):
            connection.drain()

    def retire(self) -> None:
        """End every connection when that disturbs nobody; see `ClientConnection.retire`."""
        self._retiring = True
        for connection in list(self.open):
            connection.retire()

    def abort(self) -> None:
        """Cut off what is still there."""
        for connection in list(self.open):
            connection.abort()

    def when_empty(self) -> Deferred[None]:
        """Fire once no connection is open; nobody asks for this before no more are accepted."""
        ended: Deferred[None] = Deferred()
        if self.open:
            self._waiting_for_end.append(ended)
        else:
            ended.callback(None)
        return ended

    def shed(self, count: int) -> int:
        """End up to so many connections that wait for a next request, the longest idle first; return how many."""
        resting = heapq.nsmallest(count, (each for each in self.open if each.resting), key=lambda each: each.deadline)
        for connection in resting:
            connection.drain()
        return len(resting)

    def _gone(self, connection: ClientConnection) -> None:
        client = self.open.pop(connection, None)
        if client is not None:
            self._admission.leave(client)
        if not self.open and self._waiting_for_end:
            waiting, self._waiting_for_end = self._waiting_for_end, []
            for ended in waiting:
                ended.callback(None)


class Listener(Service):
    """One endpoint string, opened while the service runs. What becomes of its clients is `draining`'s to see to.

    ``listening`` stands for the reactor towards the endpoint, and decides on TLS (`tls.endpoint`). Clients wait in the
    socket's queue until what ``when_ready`` returns has fired: nobody is refused for being early. ``shared`` if other
    processes accept from the same socket.
    """

    def __init__(
        self,
        listening: Any,
        endpoint: str,
        factory: ClientFactory,
        when_ready: Callable[[], Deferred[None]],
        inherited: Inheritance | None = None,
        shared: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self._shared = shared
        self._inherited = inherited
        self._listening = listening
        self._factory = factory
        self._when_ready = when_ready
        self._port: IListeningPort | None = None

    @property
    def port(self) -> IListeningPort | None:
        """The open port, whose ``getHost()`` says where it really listens; None while closed."""
        return self._port

    def startService(self) -> None:
        """Open the endpoint; raises ListenError if that cannot be done."""
        super().startService()  # type: ignore[no-untyped-call]
        failures: list[Failure] = []
        opening = open_port(self._listening, self.endpoint, self._factory, self._inherited)
        opening.addCallbacks(self._opened, failures.append)
        if failures:
            raise ListenError(f"cannot listen on {self.endpoint}: {_explain(failures[0])}")

    def _opened(self, port: IListeningPort) -> None:
        self._port = port
        if isinstance(port, FileDescriptor):
            port.stopReading()  # type: ignore[no-untyped-call]
            if isinstance(port, SharedPort):
                port.shared = self._shared
            self._when_ready().addCallback(lambda _: self._accept(port))

    def _accept(self, port: FileDescriptor) -> None:
        if port.connected:  # not closed in the meantime
            port.startReading()

    def queue_again(self) -> None:
        """Take clients whom another process should have taken, and does not; see `sharing`."""
        if isinstance(self._port, SharedPort):
            self._port.queue_again()

    def leave(self) -> None:
        """Another process has the socket as well: let it keep that when this one stops."""
        if self._port is not None:
            leave_to_others(self._port)

    def stopService(self) -> Deferred[None]:
        """Accept nobody any more; fire when the endpoint is closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        port, self._port = self._port, None
        return succeed(None) if port is None else Deferred.fromCoroutine(_closed(port))


async def _closed(port: IListeningPort) -> None:
    await maybeDeferred(port.stopListening)


def _explain(failure: Failure) -> str:
    """What the operator can do about it."""
    error = failure.value
    if isinstance(error, CannotListenError):
        number = getattr(error.socketError, "errno", None)
        if number == errno.EADDRINUSE and error.interface is None:  # a UNIX socket
            return "another program listens there (find it with: ss -lxp), or the file is no socket: remove it then"
        if number == errno.EADDRINUSE:
            return "the port is taken by another program (find it with: ss -ltnp)"
        if number == errno.EACCES:
            return "no permission: ports below 1024 need root, CAP_NET_BIND_SERVICE, or systemd's socket activation"
        return str(error.socketError)
    return failure.getErrorMessage()
