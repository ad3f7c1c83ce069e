"""Accepting clients: all who wait, whatever becomes of one of them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher

from appliance.net.immediate import ImmediatePort
from tests.support.loop import Loop, loop


class Made(Factory):
    """Makes protocols and knows them; one for a port in ``refused`` is refused, for one in ``broken`` it breaks."""

    def __init__(self) -> None:
        self.protocols: list[Any] = []
        self.refused: set[int] = set()
        self.broken: set[int] = set()

    def buildProtocol(self, addr: Any) -> Protocol | None:
        if addr.port in self.broken:
            raise RuntimeError("no protocol")
        if addr.port in self.refused:
            return None
        self.protocols.append(Protocol())
        made: Protocol = self.protocols[-1]
        return made


class Listening:
    """A port, its factory, and clients of it."""

    def __init__(self, running: Loop, interface: str) -> None:
        self.loop = running
        self.factory = Made()
        self.port: Any = ImmediatePort(0, self.factory, 200, interface, running.reactor)
        self.port.startListening()
        self.clients: list[socket.socket] = []

    def connect(self, host: str = "127.0.0.1") -> socket.socket:
        """A client whose connection waits to be accepted."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        client = socket.socket(family)
        self.clients.append(client)
        client.connect((host, self.port.getHost().port))
        return client

    def accepted(self, count: int) -> list[Any]:
        """The transports of so many clients, once they are there."""
        self.loop.until(lambda: len(self.factory.protocols) == count, f"{count} clients")
        return [each.transport for each in self.factory.protocols]


@pytest.fixture
def running() -> Iterator[Loop]:
    """A reactor turned by hand."""
    with loop() as made:
        yield made


@pytest.fixture
def listening(running: Loop) -> Iterator[Listening]:
    """A port on every address, IPv6 ones included."""
    made = Listening(running, "::")
    yield made
    for client in made.clients:
        client.close()


def ended(client: socket.socket) -> bool:
    """Whether the connection was closed on the other side."""
    client.setblocking(False)
    try:
        return not client.recv(1)
    except BlockingIOError:
        return False


def test_many(listening: Listening) -> None:
    """All who wait are accepted, however many they are."""
    for _ in range(150):
        listening.connect()
    assert len({transport.getPeer().port for transport in listening.accepted(150)}) == 150


def test_ends(listening: Listening) -> None:
    """A transport tells both ends of its connection, IPv6 or not, as the client sees them."""
    clients = [listening.connect(), listening.connect("::1")]
    for client, transport in zip(clients, listening.accepted(2), strict=True):
        host, port = client.getsockname()[:2]
        assert (transport.getPeer().host.removeprefix("::ffff:"), transport.getPeer().port) == (host, port)
        assert transport.getHost().port == transport.local_port == client.getpeername()[1]


def test_scope(listening: Listening) -> None:
    """The address of a client on the same link has its scope, as Twisted has it."""
    client = listening.connect("::1")
    made, address = listening.port.socket.accept()
    index, name = socket.if_nameindex()[0]
    listening.port._accepted(made, ("fe80::1", address[1], 0, index))
    (transport,) = listening.accepted(1)
    assert transport.getPeer().host == f"fe80::1%{name}"
    client.close()


def test_refused(listening: Listening) -> None:
    """A client whom the factory gives no protocol is closed; those after it are accepted."""
    refused = listening.connect()
    listening.factory.refused.add(refused.getsockname()[1])
    listening.connect()
    listening.accepted(1)
    listening.loop.until(lambda: ended(refused), "the refused client's end")


def test_broken(listening: Listening) -> None:
    """A factory that fails for one client is told of in the log, and fails for nobody else."""
    seen: Any = EventLoggingObserver()
    globalLogPublisher.addObserver(seen)
    broken = listening.connect()
    listening.factory.broken.add(broken.getsockname()[1])
    listening.connect()
    try:
        listening.accepted(1)
    finally:
        globalLogPublisher.removeObserver(seen)
    listening.loop.until(lambda: ended(broken), "the broken client's end")
    (event,) = [each for each in seen if "log_failure" in each]
    assert isinstance(event["log_failure"].value, RuntimeError)


def test_no_descriptors(listening: Listening) -> None:
    """Without descriptors, clients are closed with the one held back for that: the port does not turn idly."""
    inner = listening.port.socket
    failures = [errno.EMFILE, errno.EMFILE]

    class Exhausted:
        def accept(self) -> Any:
            if failures:
                raise OSError(failures.pop(), "too many open files")
            return inner.accept()

    client = listening.connect()
    listening.port.socket = Exhausted()
    try:
        listening.port.doRead()
    finally:
        listening.port.socket = inner
    assert ended(client)
    listening.connect()
    listening.accepted(1)


def test_named(listening: Listening) -> None:
    """Logs can name a connection, also after its end."""
    listening.connect()
    (transport,) = listening.accepted(1)
    assert transport.logPrefix() == "Protocol,0,::ffff:127.0.0.1"
    assert repr(transport) == f"<Protocol #0 on {listening.port.getHost().port}>"
    transport.abortConnection()
    listening.loop.until(lambda: transport.disconnected, "the end")
    assert "#0" in repr(transport)
