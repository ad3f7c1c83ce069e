"""Writes that go to the socket at once, held against Twisted's that are queued first."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.tcp import Port

from appliance.net.immediate import ImmediatePort, ImmediateUnixPort, connect_tcp, connect_unix
from tests.support.loop import Loop, loop

PATTERN = bytes(range(256)) * 4096
"""1 MiB: far more than the sockets here take at once."""


class Recorder(Protocol):
    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason.value


class Pair:
    """An accepted connection and the raw socket at its other end."""

    def __init__(self, running: Loop, port_class: type[Port]) -> None:
        self.loop = running
        protocols: list[Recorder] = []
        factory = Factory()
        factory.buildProtocol = lambda _address: protocols.append(Recorder()) or protocols[-1]  # type: ignore[func-returns-value,method-assign]
        port = port_class(0, factory, interface="127.0.0.1", reactor=running.reactor)
        port.startListening()
        port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)  # accepted sockets inherit it
        self.client = socket.socket()
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.client.connect(("127.0.0.1", port.getHost().port))
        self.client.setblocking(False)
        running.until(lambda: protocols, "the accepted connection")
        (self.protocol,) = protocols
        self.transport: Any = self.protocol.transport

    def now(self, size: int = 1 << 20) -> bytes:
        """What has arrived, without a turn of the reactor."""
        try:
            return self.client.recv(size)
        except BlockingIOError:
            return b""

    def receive(self, size: int) -> bytes:
        """So many bytes, or all until the end."""
        received = bytearray()

        def step() -> bool:
            try:
                data = self.client.recv(min(size - len(received), 1 << 20))
            except BlockingIOError:
                return False
            received.extend(data)
            return not data or len(received) == size

        self.loop.until(step, f"{size} bytes")
        return bytes(received)

    def queue_something(self) -> bytes:
        """Write more than the socket takes."""
        written = PATTERN
        self.transport.write(written)
        assert self.transport.dataBuffer
        return written


@pytest.fixture
def running() -> Iterator[Loop]:
    with loop() as made:
        yield made


@pytest.fixture(params=[ImmediatePort, Port], ids=["ours", "twisted"])
def pair(running: Loop, request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(running, request.param)
    yield made
    made.client.close()


@pytest.fixture
def ours(running: Loop) -> Iterator[Pair]:
    made = Pair(running, ImmediatePort)
    yield made
    made.client.close()


def asks_for_the_vanished(connection: socket.socket) -> bool:
    """Whether the kernel finds out within minutes that the other end is gone without a word."""
    seconds = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) + connection.getsockopt(
        socket.IPPROTO_TCP, socket.TCP_KEEPINTVL
    ) * connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
    return bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) and seconds < 180


# -- both alike


def test_everything_arrives_in_order(pair: Pair) -> None:
    """Small and large writes, before and after the socket is full, arrive whole and in order."""
    expected = bytearray()
    for size in (1, 10_000, 1 << 20, 1, 0, 300_000, 7):
        pair.transport.write(PATTERN[:size])
        pair.transport.writeSequence([PATTERN[:3], b"", PATTERN[:size]])
        expected += PATTERN[:size] + PATTERN[:3] + PATTERN[:size]
    assert pair.receive(len(expected)) == expected


def test_lose_connection_flushes(pair: Pair) -> None:
    """A close comes after all that was written."""
    pair.transport.write(b"small")
    pair.transport.write(PATTERN)
    pair.transport.loseConnection()
    assert pair.receive(1 << 30) == b"small" + PATTERN
    pair.client.close()
    assert isinstance(pair.loop.until(lambda: pair.protocol.lost, "the end"), ConnectionDone)


def test_half_close(pair: Pair) -> None:
    """The write half closes after all that was written; nothing is written after that; reading goes on."""
    pair.transport.write(PATTERN)
    pair.transport.loseWriteConnection()
    assert pair.receive(1 << 30) == PATTERN
    pair.transport.write(b"too late")
    pair.client.send(b"still read")
    pair.loop.until(lambda: pair.protocol.received == b"still read", "data")


def test_push_producer(pair: Pair) -> None:
    """A push producer is paused when much is queued and resumed when nothing is."""
    events: list[str] = []

    class Producer:
        def pauseProducing(self) -> None:
            events.append("pause")

        def resumeProducing(self) -> None:
            events.append("resume")

        def stopProducing(self) -> None:
            events.append("stop")

    pair.transport.registerProducer(Producer(), True)
    pair.transport.write(b"small")
    assert events == []
    pair.transport.write(PATTERN)
    assert events == ["pause"]
    pair.receive(5 + len(PATTERN))
    pair.loop.until(lambda: len(events) == 2, "the resume")
    assert events == ["pause", "resume"]
    pair.client.close()
    pair.loop.until(lambda: pair.protocol.lost, "the end")
    assert events[2:] == ["stop"]


def test_pull_producer(pair: Pair) -> None:
    """A pull producer is asked again and again until it unregisters."""
    transport = pair.transport

    class Producer:
        left = 30

        def resumeProducing(self) -> None:
            self.left -= 1
            transport.write(PATTERN[:50_000])
            if not self.left:
                transport.unregisterProducer()
                transport.loseConnection()

        def stopProducing(self) -> None:
            pass

    transport.registerProducer(Producer(), False)
    assert pair.receive(1 << 30) == PATTERN[:50_000] * 30


def test_only_bytes(pair: Pair) -> None:
    """Text is refused, whether something is queued or not."""
    for _ in range(2):
        with pytest.raises(TypeError):
            pair.transport.write("text")
        with pytest.raises(TypeError):
            pair.transport.writeSequence(["text"])
        pair.transport.write(PATTERN)


def test_reset(pair: Pair) -> None:
    """A reset is a lost connection; writes after it do nothing."""
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.client.close()
    pair.loop.until(lambda: pair.protocol.lost, "the end")
    assert isinstance(pair.protocol.lost, ConnectionLost)
    pair.transport.write(b"x")
    pair.transport.writeSequence([b"x"])


def test_write_after_abort(pair: Pair) -> None:
    """Nothing is sent after an abort."""
    pair.transport.abortConnection()
    pair.transport.write(b"x")
    with pytest.raises(ConnectionResetError):
        pair.receive(1)


# -- ours only


def test_at_once(ours: Pair) -> None:
    """A write is with the client before the reactor turns, and the reactor is not even asked to watch."""
    ours.transport.write(b"hello")
    ours.transport.writeSequence([b", ", b"world"])
    assert ours.now() == b"hello, world"
    assert ours.transport not in ours.loop.reactor.getWriters()


def test_clients_that_vanish(ours: Pair) -> None:
    """A client that lost its network is noticed, however silent both ends like to be."""
    assert asks_for_the_vanished(ours.transport.socket)


def test_after_the_queue(ours: Pair) -> None:
    """While something is queued a write goes behind it; at once again when nothing is."""
    written = ours.queue_something()
    ours.transport.write(b"behind")
    ours.transport.writeSequence([b" it"])
    assert ours.receive(len(written) + 9) == written + b"behind it"
    ours.loop.until(lambda: not ours.transport.dataBuffer, "the empty queue")
    ours.transport.write(b"direct")
    assert ours.now() == b"direct"


def test_queue_is_not_copied(ours: Pair) -> None:
    """What the socket does not take waits as the object that was written."""
    written = PATTERN
    ours.transport.write(written)
    assert ours.transport.dataBuffer is written
    assert 0 < ours.transport.offset < len(written)


def test_errors_come_from_the_reactor(ours: Pair) -> None:
    """A write that fails says nothing while it is under way: the protocol learns it from the reactor's turn."""
    ours.transport.pauseProducing()
    ours.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.client.close()
    ours.transport.write(b"x")
    ours.transport.write(b"y")
    assert ours.protocol.lost is None
    assert isinstance(ours.loop.until(lambda: ours.protocol.lost, "the end"), ConnectionLost)


def test_write_in_resume(ours: Pair) -> None:
    """A producer that writes while it is being resumed, more than the socket takes, is paused and resumed again."""
    transport = ours.transport
    written: list[int] = []

    class Producer:
        def resumeProducing(self) -> None:
            if len(written) < 4:
                written.append(1)
                transport.write(PATTERN)
            else:
                transport.unregisterProducer()

        def pauseProducing(self) -> None:
            pass

        def stopProducing(self) -> None:
            pass

    producer = Producer()
    transport.registerProducer(producer, True)
    producer.resumeProducing()
    assert ours.receive(4 * len(PATTERN)) == PATTERN * 4
    ours.loop.until(lambda: transport.producer is None, "the end of producing")


def test_start_tls_is_not_bypassed(ours: Pair) -> None:
    """After startTLS, which others may call, nothing goes out in clear."""
    written: list[bytes] = []
    ours.transport.TLS = True
    ours.transport.protocol = type("Tls", (), {"write": written.append, "writeSequence": written.extend})
    ours.transport.write(b"secret")
    ours.transport.writeSequence([b"more"])
    assert written == [b"secret", b"more"]
    assert ours.now() == b""
    ours.transport.protocol = ours.protocol


def test_close_while_the_client_sends(ours: Pair) -> None:
    """A close does not reset what the client has yet to read, although it goes on sending."""
    ours.client.send(PATTERN[:50_000])
    ours.loop.until(lambda: ours.protocol.received, "data")
    ours.transport.write(b"goodbye")
    ours.transport.loseConnection()
    for _ in range(10):
        ours.client.send(PATTERN[:50_000])
        ours.loop.turn(3)
    assert ours.receive(100) == b"goodbye"
    assert ours.protocol.lost is None
    ours.client.close()
    assert isinstance(ours.loop.until(lambda: ours.protocol.lost, "the end"), ConnectionDone)
    assert not ours.transport.server.lingering


def test_client_that_closed_first(ours: Pair) -> None:
    """Where the client's half is closed already a close is immediate."""
    ours.transport.pauseProducing()
    ours.client.shutdown(socket.SHUT_WR)
    ours.transport.loseConnection()
    ours.loop.turn(2)
    assert isinstance(ours.protocol.lost, ConnectionDone)


def test_client_that_resets_meanwhile(ours: Pair) -> None:
    """A reset ends the wait for the client's half: what we had to say was said."""
    ours.transport.loseConnection()
    assert ours.receive(1) == b""
    ours.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.client.close()
    assert isinstance(ours.loop.until(lambda: ours.protocol.lost, "the end"), ConnectionDone)


def test_client_that_is_gone(ours: Pair) -> None:
    """A close that finds the client gone waits for nobody."""
    ours.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.client.close()
    assert isinstance(ours.transport._postLoseConnection(), ConnectionDone)


# -- the other kinds of connection


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]


def echo_through(running: Loop, connector: Any, client: Recorder) -> None:
    running.until(lambda: client.transport is not None, "the connection")
    client.transport.write(PATTERN * 4)  # type: ignore[union-attr]
    running.until(lambda: len(client.received) == 4 * len(PATTERN), "the echo")
    assert client.received == PATTERN * 4
    connector.disconnect()
    assert isinstance(running.until(lambda: client.lost, "the end"), ConnectionDone)


def client_factory(client: Recorder) -> ClientFactory:
    factory = ClientFactory()
    factory.buildProtocol = lambda _address: client  # type: ignore[method-assign]
    return factory


def test_client_over_tcp(running: Loop) -> None:
    """A connection that we open writes at once too."""
    port = ImmediatePort(0, Factory.forProtocol(Echo), interface="127.0.0.1", reactor=running.reactor)
    port.startListening()
    client = Recorder()
    connector = connect_tcp(running.reactor, "127.0.0.1", port.getHost().port, client_factory(client))
    running.until(lambda: client.transport is not None, "the connection")
    assert asks_for_the_vanished(client.transport.socket)  # type: ignore[union-attr]
    echo_through(running, connector, client)


def test_client_over_unix(running: Loop, tmp_path: Path) -> None:
    """And one over a UNIX socket, at both ends."""
    path = str(tmp_path / "socket")
    port = ImmediateUnixPort(path.encode(), Factory.forProtocol(Echo), reactor=running.reactor)
    port.startListening()
    client = Recorder()
    echo_through(running, connect_unix(running.reactor, path, client_factory(client)), client)
