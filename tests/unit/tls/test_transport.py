"""TLS on the socket, held against Twisted's own TLS: whatever both can do, both must do alike."""

from __future__ import annotations

import gc
import select
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, INegotiated, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer
from zope.interface.verify import verifyObject

from appliance.tls import transport as transport_module
from appliance.tls.certificate import Certificate
from appliance.tls.endpoint import FallbackConnections, TlsListening
from appliance.tls.snimap import SniMap, served_certificate
from tests.support.certificates import make_certificate
from tests.support.loop import Loop, loop
from tests.support.tlsclient import TlsClient

PATTERN = bytes(range(256)) * 4096  # 1 MiB


@implementer(IHandshakeListener)
class Recorder(Protocol):
    """Notes what happens to it; ``on_made`` and ``on_data`` are what the test wants done."""

    def __init__(self, on_made: Callable[[Any], None] | None, on_data: Callable[[Any, bytes], None] | None) -> None:
        self.received = bytearray()
        self.deliveries = 0
        self.handshakes = 0
        self.lost: Any = None
        self._on_made = on_made
        self._on_data = on_data

    def connectionMade(self) -> None:
        if self._on_made is not None:
            self._on_made(self.transport)

    def handshakeCompleted(self) -> None:
        self.handshakes += 1

    def dataReceived(self, data: bytes) -> None:
        assert self.lost is None
        self.received += data
        self.deliveries += 1
        if self._on_data is not None:
            self._on_data(self.transport, data)

    def connectionLost(self, reason: Any = None) -> None:
        assert self.lost is None
        self.lost = reason.value


class Server:
    """A listening server with ``one.example``'s certificate, of either kind."""

    def __init__(self, running: Loop, kind: str) -> None:
        self.loop = running
        self.kind = kind
        self.sni_map = SniMap()
        self.sni_map.swap("one.example", ["one.example"], ONE)
        self.protocols: list[Recorder] = []
        self.on_made: Callable[[Any], None] | None = None
        self.on_data: Callable[[Any, bytes], None] | None = None
        self.protocol_class: type[Recorder] = Recorder
        # With OpenSSL 4 Twisted's TLS takes its own abort for an end of the client's.
        self.aborted = ConnectionAborted if kind == "ours" else (ConnectionAborted, ConnectionLost)
        factory = Factory()
        factory.buildProtocol = self._build  # type: ignore[method-assign]
        if kind == "ours":
            port: Any = TlsListening(running.reactor, self.sni_map).listenTCP(0, factory, interface="127.0.0.1")
        else:
            wrapped = TLSMemoryBIOFactory(FallbackConnections(self.sni_map), False, factory, running.reactor)
            port = running.reactor.listenTCP(0, wrapped, interface="127.0.0.1")
        self.port = port.getHost().port
        self.listening_socket: socket.socket = port.socket

    def _build(self, _address: object) -> Recorder:
        self.protocols.append(self.protocol_class(self.on_made, self.on_data))
        return self.protocols[-1]

    @property
    def protocol(self) -> Recorder:
        """The protocol of the only connection, once accepted."""
        self.loop.until(lambda: self.protocols, "an accepted connection")
        (only,) = self.protocols
        return only

    def lost(self) -> Any:
        """The reason of the only connection's loss, once lost."""
        return self.loop.until(lambda: self.protocol.lost, "connectionLost")


ONE = make_certificate(["one.example"])


@pytest.fixture
def running() -> Iterator[Loop]:
    with loop() as made:
        yield made


@pytest.fixture(params=["ours", "twisted"])
def server(running: Loop, request: pytest.FixtureRequest) -> Server:
    return Server(running, request.param)


@pytest.fixture
def ours(running: Loop) -> Server:
    return Server(running, "ours")


@pytest.fixture
def connect(running: Loop) -> Iterator[Callable[..., TlsClient]]:
    clients: list[TlsClient] = []

    def connect(server: Server, *args: Any, **kwargs: Any) -> TlsClient:
        clients.append(TlsClient(running, server.port, *args, **kwargs))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


Connect = Callable[..., TlsClient]


def echo(transport: Any, data: bytes) -> None:
    transport.write(data)


# -- both alike


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("size", [1, 16 * 1024, len(PATTERN)])
def test_echo(server: Server, connect: Connect, version: int, size: int) -> None:
    """What is sent comes back, whatever the size."""
    server.on_data = echo
    client = connect(server, version=version)
    for _ in range(2):
        client.send(PATTERN[:size])
        assert client.receive(size) == PATTERN[:size]
    assert server.protocol.handshakes == 1


def test_interfaces(server: Server, connect: Connect) -> None:
    """A protocol finds out that it runs over TLS, what was negotiated and who is there."""
    client = connect(server, alpn=(b"http/1.1",)).handshake()
    client.send(b"x")
    server.loop.until(lambda: server.protocol.received, "data")
    transport: Any = server.protocol.transport
    assert INegotiated.providedBy(transport) or server.kind == "twisted"
    assert transport.negotiatedProtocol == b"http/1.1"
    assert transport.getPeerCertificate() is None
    assert transport.getPeer().port == client.socket.getsockname()[1]
    assert transport.getHost().port == server.port
    assert served_certificate(transport) is server.sni_map.served("one.example")


def test_no_alpn(server: Server, connect: Connect) -> None:
    """A client that offers no protocols gets none."""
    connect(server).handshake().send(b"x")
    server.loop.until(lambda: server.protocol.received, "data")
    transport: Any = server.protocol.transport
    assert transport.negotiatedProtocol is None


def test_client_closes(server: Server, connect: Connect) -> None:
    """A close_notify ends the connection cleanly, after all that came before it, and is answered."""
    client = connect(server)
    client.send(b"last words")
    client.tls.shutdown()
    assert client.receive_all() == b""
    client.close()
    assert isinstance(server.lost(), ConnectionDone)
    assert server.protocol.received == b"last words"


def test_client_truncates(server: Server, connect: Connect) -> None:
    """An end without close_notify is told apart: data may be missing."""
    client = connect(server)
    client.send(b"half a sen")
    client.socket.shutdown(socket.SHUT_WR)
    assert isinstance(server.lost(), ConnectionLost)
    assert server.protocol.received == b"half a sen"


def test_client_resets(server: Server, connect: Connect) -> None:
    """A reset is a lost connection."""
    client = connect(server)
    client.send(b"x")
    server.loop.until(lambda: server.protocol.received, "data")
    client.reset()
    assert isinstance(server.lost(), ConnectionLost)


@pytest.mark.parametrize("size", [0, 10, len(PATTERN)])
def test_lose_connection_flushes(server: Server, connect: Connect, size: int) -> None:
    """What was written before a close arrives whole, and then a close_notify."""

    def answer_and_close(transport: Any, _data: bytes) -> None:
        transport.write(PATTERN[:size])
        transport.loseConnection()

    server.on_data = answer_and_close
    client = connect(server)
    client.send(b"x")
    assert client.receive_all() == PATTERN[:size]
    client.tls.shutdown()
    client.close()
    assert isinstance(server.lost(), ConnectionDone)


def test_write_before_handshake(server: Server, connect: Connect) -> None:
    """What is written before the handshake is kept for its end; a close waits for it."""

    def greet(transport: Any) -> None:
        transport.writeSequence([b"hel", b"lo"])
        transport.write(PATTERN)
        transport.loseConnection()

    server.on_made = greet
    assert connect(server).receive_all() == b"hello" + PATTERN


def test_lose_connection_before_handshake(server: Server, connect: Connect) -> None:
    """A close with nothing to send does not wait for a handshake that may never come."""
    server.on_made = lambda transport: transport.loseConnection()
    client = connect(server)
    with pytest.raises(SSL.Error):
        client.handshake()
    assert isinstance(server.lost(), server.aborted)


def test_abort(server: Server, connect: Connect) -> None:
    """An abort drops what is queued, and the client can tell that from an end."""

    def answer_and_abort(transport: Any, _data: bytes) -> None:
        transport.write(PATTERN * 8)
        transport.abortConnection()
        transport.write(b"more")

    server.on_data = answer_and_abort
    client = connect(server)
    client.send(b"x")
    with pytest.raises(SSL.SysCallError):
        client.receive(len(PATTERN) * 8)
    assert isinstance(server.lost(), server.aborted)


def test_abort_before_handshake(server: Server, connect: Connect) -> None:
    """An owner whose patience is over ends the handshake."""
    connect(server)
    server.protocol.transport.abortConnection()  # type: ignore[union-attr]
    assert isinstance(server.lost(), server.aborted)
    assert server.protocol.handshakes == 0


def test_unknown_name(server: Server, connect: Connect) -> None:
    """A name that is not served gets an alert."""
    with pytest.raises(SSL.Error, match="handshake failure"):
        connect(server, "two.example").handshake()
    assert isinstance(server.lost(), SSL.Error)
    assert served_certificate(server.protocol.transport) is None


def test_not_tls(server: Server, connect: Connect) -> None:
    """A client that speaks something else fails the handshake."""
    client = connect(server)
    client.socket.sendall(b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n")
    assert isinstance(server.lost(), SSL.Error)


def test_end_in_handshake(server: Server, connect: Connect) -> None:
    """A client that goes away in mid-handshake is a lost connection."""
    client = connect(server)
    with pytest.raises(SSL.WantReadError):
        client.tls.do_handshake()  # sends the ClientHello
    client.socket.shutdown(socket.SHUT_WR)
    assert isinstance(server.lost(), ConnectionLost)


def test_end_before_handshake(server: Server, connect: Connect) -> None:
    """A client that never says anything (a port scan) is a lost connection."""
    connect(server).close()
    assert isinstance(server.lost(), ConnectionLost)


def single_bytes(data: bytes) -> list[bytes]:
    return [data[position : position + 1] for position in range(len(data))]


def records(data: bytes) -> list[bytes]:
    """The TLS records in ``data``, each but the last byte and then that, for the worst of stalls."""
    pieces = []
    while data:
        end = 5 + int.from_bytes(data[3:5], "big")
        pieces += [data[: end - 1], data[end - 1 : end]]
        data = data[end:]
    return pieces


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("split", [single_bytes, records])
def test_stalls_everywhere(server: Server, running: Loop, split: Callable[[bytes], list[bytes]], version: int) -> None:
    """A client that stalls after every byte, or within every record, is served as any other."""
    server.on_data = echo
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    tls = SSL.Connection(context, None)
    tls.set_tlsext_host_name(b"one.example")
    tls.set_connect_state()
    received = b""
    sent = False
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def step() -> bool:
            nonlocal received, sent
            with suppress(SSL.WantReadError):
                tls.do_handshake()
                if not sent:
                    sent = True
                    tls.send(b"drop by drop")
                    tls.send(b", once more")
                received += tls.recv(100)
            with suppress(SSL.WantReadError):
                for piece in split(tls.bio_read(1 << 16)):
                    raw.send(piece)
                    running.turn(2)
            with suppress(BlockingIOError):
                tls.bio_write(raw.recv(1 << 16))
            return received == b"drop by drop, once more"

        running.until(step, "the echo")


def test_random_sizes(server: Server, connect: Connect) -> None:
    """Writes of every size into sockets that are nearly full arrive as they were written."""
    dice = Random(7)
    sizes = [dice.choice([0, 1, 100, 5_000, 16_384, 16_385, 40_000, 200_000]) for _ in range(150)]
    server.listening_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    client = connect(server, receive_buffer=16 * 1024)
    transport = established(server, client)
    expected = bytearray()
    received = bytearray()
    for size in sizes:
        offset = dice.randrange(1000)
        transport.write(PATTERN[offset : offset + size])
        expected += PATTERN[offset : offset + size]
        with suppress(SSL.WantReadError):
            received += client.tls.recv(dice.randrange(1, 60_000))
        server.loop.turn(dice.randrange(2))
    transport.loseConnection()
    received += client.receive_all()
    assert received == expected


@implementer(IPushProducer)
class Streamer:
    """Writes ``pieces`` pieces of 64 KiB while it is not paused, then unregisters and closes."""

    def __init__(self, running: Loop, transport: Any, pieces: int) -> None:
        self._loop = running
        self._transport = transport
        self.left = pieces
        self.pauses = 0
        self.paused = False
        transport.registerProducer(self, True)
        self._write()

    def _write(self) -> None:
        if self.left and not self.paused:
            self.left -= 1
            self._transport.write(PATTERN[: 64 * 1024])
            self._loop.reactor.callLater(0, self._write)
        elif not self.left and not self.paused:
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        self.paused = False
        self._write()

    def stopProducing(self) -> None:
        self.left = 0


def test_streaming_producer(server: Server, connect: Connect) -> None:
    """A push producer is paused while the client does not read, and what it wrote arrives whole."""
    streamers: list[Streamer] = []
    server.on_data = lambda transport, _data: streamers.append(Streamer(server.loop, transport, 200))
    client = connect(server, receive_buffer=64 * 1024)
    client.send(b"go")
    server.loop.until(lambda: streamers and streamers[0].paused, "the pause")
    server.loop.turn(20)
    assert streamers[0].pauses
    assert streamers[0].left > 100
    assert client.receive_all() == PATTERN[: 64 * 1024] * 200
    client.tls.shutdown()
    client.close()
    assert isinstance(server.lost(), ConnectionDone)


def test_producer_is_stopped(server: Server, connect: Connect) -> None:
    """A producer learns that there is nobody left to produce for."""
    streamers: list[Streamer] = []
    server.on_data = lambda transport, _data: streamers.append(Streamer(server.loop, transport, 2000))
    client = connect(server)
    client.send(b"go")
    server.loop.until(lambda: streamers and streamers[0].paused, "the pause")
    client.reset()
    server.lost()
    assert streamers[0].left == 0


def test_pause_reading(server: Server, connect: Connect) -> None:
    """A paused transport delivers nothing; resumed, it delivers everything."""
    server.on_data = lambda transport, _data: transport.pauseProducing()
    client = connect(server)
    client.send(b"a")
    server.loop.until(lambda: server.protocol.received, "data")
    client.send(b"b")
    server.loop.turn(20)
    assert server.protocol.received == b"a"
    server.on_data = None
    server.protocol._on_data = None
    server.protocol.transport.resumeProducing()  # type: ignore[union-attr]
    server.loop.until(lambda: server.protocol.received == b"ab", "the rest")


def test_stalled_reader(server: Server, connect: Connect) -> None:
    """Data written to a client that does not read wait for it; a close in the meantime waits too."""

    def answer_and_close(transport: Any, _data: bytes) -> None:
        for start in range(0, len(PATTERN), 5000):
            transport.write(PATTERN[start : start + 5000])
        transport.write(PATTERN * 4)
        transport.loseConnection()

    server.on_data = answer_and_close
    client = connect(server, receive_buffer=16 * 1024)
    client.send(b"x")
    server.loop.turn(100)
    assert server.protocol.lost is None
    assert client.receive_all() == PATTERN * 5


# -- ours only


class Puller:
    """A pull producer: one piece each time it is asked."""

    def __init__(self, transport: Any, pieces: int) -> None:
        self._transport = transport
        self._left = pieces
        transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self._left -= 1
        self._transport.write(PATTERN[:30_000])
        if not self._left:
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def stopProducing(self) -> None:
        pass


@pytest.mark.parametrize("when", ["before", "after"])
def test_pull_producer(ours: Server, connect: Connect, when: str) -> None:
    """A pull producer is asked until it is done, registered before the handshake or after.

    (Twisted's TLS does this on the global reactor, so it cannot stand beside.)
    """
    if when == "before":
        ours.on_made = lambda transport: Puller(transport, 20)
    else:
        ours.on_data = lambda transport, _data: Puller(transport, 20)
    client = connect(ours)
    client.handshake()
    client.send(b"go")
    assert client.receive_all() == PATTERN[:30_000] * 20


def test_handshaking_flag(ours: Server, connect: Connect) -> None:
    """An owner sees whether the handshake is still under way, and no connection is made before the client speaks."""
    client = connect(ours)
    transport: Any = ours.protocol.transport
    assert transport.handshaking
    assert transport.getHandle() is None
    assert transport.getPeerCertificate() is None
    assert transport.negotiatedProtocol is None
    client.handshake()
    client.send(b"x")
    ours.loop.until(lambda: ours.protocol.received, "data")
    assert not transport.handshaking
    verifyObject(INegotiated, transport)
    with pytest.raises(RuntimeError, match="TLS already"):
        transport.startTLS(None)


def test_large_pieces(ours: Server, connect: Connect) -> None:
    """Bodies come in pieces of several records, for fewer calls."""
    connect(ours).send(PATTERN)
    ours.loop.until(lambda: ours.protocol.received == PATTERN, "the body")
    assert ours.protocol.deliveries < len(PATTERN) / (16 * 1024) / 2


def test_no_reads_while_paused_in_handshake_completed(ours: Server, connect: Connect) -> None:
    """A protocol that pauses as the handshake completes gets no data, although they came with its last flight."""

    class Pausing(Recorder):
        def handshakeCompleted(self) -> None:
            self.transport.pauseProducing()  # type: ignore[union-attr]

    ours.protocol_class = Pausing
    client = connect(ours)
    client.send(b"early")
    ours.loop.until(lambda: not ours.protocol.transport.handshaking, "the handshake")  # type: ignore[union-attr]
    ours.loop.turn(10)
    assert ours.protocol.received == b""
    ours.protocol.transport.resumeProducing()  # type: ignore[union-attr]
    ours.loop.until(lambda: ours.protocol.received == b"early", "data")


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Knows each direction's end."""

    read_ended = False
    write_ended = False

    def readConnectionLost(self) -> None:
        self.read_ended = True

    def writeConnectionLost(self) -> None:
        self.write_ended = True


def test_half_close_by_client(ours: Server, connect: Connect) -> None:
    """After the client's close_notify a half-closeable protocol can still answer."""
    ours.protocol_class = HalfCloseable
    client = connect(ours)
    client.send(b"question")
    client.tls.shutdown()
    protocol = ours.protocol
    assert isinstance(protocol, HalfCloseable)
    ours.loop.until(lambda: protocol.read_ended, "readConnectionLost")
    assert protocol.lost is None
    protocol.transport.write(PATTERN)  # type: ignore[union-attr]
    protocol.transport.loseConnection()  # type: ignore[union-attr]
    assert client.receive_all() == PATTERN
    client.close()
    assert isinstance(ours.lost(), ConnectionDone)


def test_half_close_by_server(ours: Server, connect: Connect) -> None:
    """loseWriteConnection sends what is queued and a close_notify, and goes on reading."""
    ours.protocol_class = HalfCloseable

    def answer_and_half_close(transport: Any, _data: bytes) -> None:
        transport.write(PATTERN)
        transport.loseWriteConnection()

    ours.on_data = answer_and_half_close
    client = connect(ours, receive_buffer=16 * 1024)
    client.send(b"x")
    assert client.receive_all() == PATTERN
    protocol = ours.protocol
    protocol._on_data = None
    assert isinstance(protocol, HalfCloseable)
    assert protocol.write_ended
    client.send(b"y")
    ours.loop.until(lambda: protocol.received == b"xy", "more data")
    protocol.transport.write(b"too late")  # type: ignore[union-attr]
    client.close()
    ours.lost()


def test_queue_survives_client_close(ours: Server, connect: Connect) -> None:
    """A client that says it is done sending still gets all of an answer that is queued."""
    ours.on_data = lambda transport, _data: transport.write(PATTERN * 8)
    client = connect(ours, receive_buffer=16 * 1024)
    client.send(b"x")
    ours.loop.until(lambda: ours.protocol.received, "data")
    client.tls.shutdown()
    assert client.receive_all() == PATTERN * 8
    client.close()
    assert isinstance(ours.lost(), ConnectionDone)


def test_close_during_upload(ours: Server, connect: Connect) -> None:
    """An answer that comes while the client still uploads is not destroyed by a reset."""

    def refuse(transport: Any, _data: bytes) -> None:
        transport.write(b"413 too large")
        transport.loseConnection()

    ours.on_data = refuse
    client = connect(ours)
    for _ in range(20):
        client.send(PATTERN[:100_000])
    assert ours.protocol.lost is None
    assert client.receive_all() == b"413 too large"
    client.close()
    assert isinstance(ours.lost(), ConnectionDone)


def test_close_at_once(ours: Server, connect: Connect) -> None:
    """With nothing queued a close needs no turn of the reactor: the client can see it when the call returns."""
    client = connect(ours)
    client.send(b"x")
    ours.loop.until(lambda: ours.protocol.received, "data")
    transport: Any = ours.protocol.transport
    transport.loseConnection()
    assert transport not in ours.loop.reactor.getWriters()
    assert transport in ours.loop.reactor.getReaders()
    assert client.receive_all() == b""
    client.close()
    assert isinstance(ours.lost(), ConnectionDone)


def test_close_while_reading_must_write(ours: Server, connect: Connect) -> None:
    """A close_notify that must wait for what OpenSSL has to write first is sent after that."""
    client = connect(ours)
    client.send(b"x")
    ours.loop.until(lambda: ours.protocol.received, "data")
    transport: Any = ours.protocol.transport
    transport._wait_for_write()
    transport.loseConnection()
    assert transport in ours.loop.reactor.getWriters()
    assert client.receive_all() == b""
    client.close()
    assert isinstance(ours.lost(), ConnectionDone)


def test_close_after_the_client_is_gone(ours: Server, connect: Connect) -> None:
    """A close that finds no connection any more tells so from the reactor, not from within the call."""
    client = connect(ours)
    client.send(b"x")
    ours.loop.until(lambda: ours.protocol.received, "data")
    transport: Any = ours.protocol.transport
    client.reset()
    ours.loop.until(lambda: select.select([transport.socket], [], [], 0)[0], "the reset")
    transport.stopReading()
    transport.loseConnection()
    assert ours.protocol.lost is None
    assert ours.lost() is not None


def test_linger_is_bounded(ours: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not close its half is not waited for without end."""
    monkeypatch.setattr("appliance.net.lingering.LINGER", 0.05)
    ours.on_data = lambda transport, _data: transport.loseConnection()
    client = connect(ours)
    client.send(b"x")
    assert client.receive_all() == b""
    assert isinstance(ours.lost(), ConnectionDone)


def test_abort_while_lingering(ours: Server, connect: Connect) -> None:
    """An owner may end the wait for the client's half; writes in the meantime go nowhere."""
    ours.on_data = lambda transport, _data: transport.loseConnection()
    client = connect(ours)
    client.send(b"x")
    assert client.receive_all() == b""
    transport: Any = ours.protocol.transport
    transport.write(b"y")
    transport.loseConnection()
    transport.abortConnection()
    assert isinstance(ours.lost(), ConnectionAborted)
    assert not transport.server.lingering


def test_write_error_is_reported_later(ours: Server, connect: Connect) -> None:
    """A write that fails does not call back into the protocol that is writing."""
    client = connect(ours)
    client.send(b"x")
    ours.loop.until(lambda: ours.protocol.received, "data")
    ours.protocol.transport.pauseProducing()  # type: ignore[union-attr]
    client.reset()
    protocol = ours.protocol
    transport: Any = protocol.transport
    transport.write(b"z" * 1000)
    assert protocol.lost is None
    assert transport.dataBuffer
    assert isinstance(transport.writeSomeData(b"again"), ConnectionLost)
    assert isinstance(ours.lost(), ConnectionLost)
    protocol.transport.write(b"after the end")  # type: ignore[union-attr]


def test_no_busy_turns(ours: Server, connect: Connect) -> None:
    """Nothing is watched that cannot make progress: neither in a stalled handshake nor with a stalled reader."""

    def answer(transport: Any, _data: bytes) -> None:
        transport.write(PATTERN * 8)

    ours.on_made = lambda transport: transport.write(b"queued before the handshake")
    ours.on_data = answer
    client = connect(ours, receive_buffer=16 * 1024)
    transport: Any = ours.protocol.transport
    assert transport not in ours.loop.reactor.getWriters()
    client.send(b"x")
    ours.loop.until(lambda: ours.protocol.received, "data")
    ours.loop.turn(50)
    calls = 0
    inner = transport.writeSomeData

    def counting(data: bytes) -> Any:
        nonlocal calls
        calls += 1
        return inner(data)

    transport.writeSomeData = counting
    ours.loop.turn(50)
    assert calls <= 1
    client.reset()
    ours.lost()
    del transport.writeSomeData


class FailsOnce:
    """OpenSSL's connection whose ``method`` fails once with ``error``: states that peers cannot be made to cause."""

    def __init__(self, transport: Any, method: str, error: Exception) -> None:
        real = transport._tls

        def fail(*_arguments: object) -> None:
            transport._tls = real
            raise error

        self._real = real
        setattr(self, method, fail)
        transport._tls = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def fail_once(patch: pytest.MonkeyPatch, function: str, error: Exception) -> None:
    """The same for ``read_records`` and ``write_record``."""
    real = getattr(transport_module, function)

    def fail(*_arguments: object) -> None:
        patch.setattr(transport_module, function, real)
        raise error

    patch.setattr(transport_module, function, fail)


def established(server: Server, client: TlsClient) -> Any:
    """The transport of a connection that has carried one byte."""
    client.send(b"x")
    server.loop.until(lambda: server.protocol.received, "data")
    return server.protocol.transport


def test_read_that_must_write_first(ours: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that has to wait for the socket to take data neither spins nor is forgotten (as with key updates)."""
    client = connect(ours)
    transport = established(ours, client)
    fail_once(monkeypatch, "read_records", SSL.WantWriteError())
    client.send(b"y")
    assert transport.doRead() is None
    transport.startReading()
    assert transport not in ours.loop.reactor.getReaders()
    assert transport in ours.loop.reactor.getWriters()
    ours.loop.until(lambda: ours.protocol.received == b"xy", "the rest")
    assert transport in ours.loop.reactor.getReaders()
    assert transport not in ours.loop.reactor.getWriters()


def test_read_that_must_write_first_while_paused(
    ours: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is delivered to a protocol that paused in the meantime, and what was queued is sent."""
    client = connect(ours)
    transport = established(ours, client)
    fail_once(monkeypatch, "read_records", SSL.WantWriteError())
    client.send(b"y")
    assert transport.doRead() is None
    transport.pauseProducing()
    transport.dataBuffer = b"queued"
    assert client.receive(6) == b"queued"
    assert ours.protocol.received == b"x"
    transport.resumeProducing()
    ours.loop.until(lambda: ours.protocol.received == b"xy", "the rest")


def test_end_met_while_writing(ours: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection found dead when the socket takes data again is lost as any other."""
    client = connect(ours)
    transport = established(ours, client)
    fail_once(monkeypatch, "read_records", SSL.WantWriteError())
    assert transport.doRead() is None
    fail_once(monkeypatch, "read_records", SSL.SysCallError(104, "ECONNRESET"))
    assert isinstance(ours.lost(), ConnectionLost)


def test_write_that_must_read_first(ours: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that has to wait for data waits without asking the reactor, and goes on when they came."""
    client = connect(ours)
    transport = established(ours, client)
    fail_once(monkeypatch, "write_record", SSL.WantReadError())
    transport.write(b"answer")
    assert transport not in ours.loop.reactor.getWriters()
    client.send(b"y")
    assert client.receive(6) == b"answer"


def test_close_notify_that_must_wait(ours: Server, connect: Connect) -> None:
    """A close_notify that finds the socket full is sent later, at a close and at a half-close."""
    ours.protocol_class = HalfCloseable
    client = connect(ours)
    transport = established(ours, client)
    FailsOnce(transport, "shutdown", SSL.WantWriteError())
    transport.loseWriteConnection()
    assert client.receive_all() == b""
    client.close()
    ours.lost()
    ours.protocols.clear()

    second = connect(ours)
    transport = established(ours, second)
    FailsOnce(transport, "shutdown", SSL.WantWriteError())
    transport.loseConnection()
    assert second.receive_all() == b""
    second.close()
    assert isinstance(ours.lost(), ConnectionDone)


def test_close_notify_that_cannot_be_sent(ours: Server, connect: Connect) -> None:
    """A close goes on without it."""
    client = connect(ours)
    transport = established(ours, client)
    FailsOnce(transport, "shutdown", SSL.Error([]))
    transport.loseConnection()
    with pytest.raises(SSL.SysCallError):
        client.receive(1)
    client.close()
    assert isinstance(ours.lost(), ConnectionDone)


def test_handshake_with_full_socket(ours: Server, connect: Connect) -> None:
    """A client that does not read the server's flight holds up its own handshake, without a turn spent on it."""
    chain = Certificate(ONE.key, ONE.leaf, (ONE.leaf,) * 150)
    ours.sni_map.swap("one.example", ["one.example"], chain)
    ours.listening_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.on_data = echo
    client = connect(ours, receive_buffer=2048)
    with pytest.raises(SSL.WantReadError):
        client.tls.do_handshake()
    transport: Any = ours.protocol.transport
    ours.loop.until(lambda: transport in ours.loop.reactor.getWriters(), "the full socket")
    assert transport not in ours.loop.reactor.getReaders()
    client.send(b"hello")
    assert client.receive(5) == b"hello"
    assert transport in ours.loop.reactor.getReaders()


def test_garbage_after_handshake(ours: Server, connect: Connect) -> None:
    """A record that cannot be decrypted ends the connection, with OpenSSL's reason and an alert."""
    client = connect(ours)
    transport = established(ours, client)
    client.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert isinstance(ours.lost(), SSL.Error)
    transport.write(b"x")
    with pytest.raises(SSL.Error, match="bad record mac"):
        client.receive(1)


def test_reset_in_handshake(ours: Server, connect: Connect) -> None:
    """A reset before or during the handshake is a lost connection."""
    connect(ours).reset()
    assert isinstance(ours.lost(), ConnectionLost)
    ours.protocols.clear()
    client = connect(ours)
    with pytest.raises(SSL.WantReadError):
        client.tls.do_handshake()
    client.reset()
    assert isinstance(ours.lost(), ConnectionLost)


def test_call_without_data(ours: Server, connect: Connect) -> None:
    """A reactor that calls although nothing came (as select may) does no harm."""
    client = connect(ours)
    transport: Any = ours.protocol.transport
    assert transport.doRead() is None
    assert transport.doWrite() is None
    transport = established(ours, client)
    assert transport.doRead() is None
    assert transport.doWrite() is None
    client.send(b"y")
    ours.loop.until(lambda: ours.protocol.received == b"xy", "data")


def test_close_with_the_last_data(ours: Server, connect: Connect) -> None:
    """A protocol that closes on data that came together with the client's own close is closed once."""
    ours.on_data = lambda transport, data: transport.loseConnection() if len(data) > 16 * 1024 else None
    client = connect(ours)
    established(ours, client)
    client.send(PATTERN[: 20 * 1024])
    client.tls.shutdown()
    assert client.receive_all() == b""
    client.close()
    assert isinstance(ours.lost(), ConnectionDone)


def test_nothing_is_kept(ours: Server, connect: Connect) -> None:
    """A closed connection leaves no cycle behind: protocol, transport and OpenSSL's state go at once."""
    ours.on_data = lambda transport, _data: transport.loseConnection()
    client = connect(ours)
    client.send(b"x")
    assert client.receive_all() == b""
    transport = weakref.ref(ours.protocol.transport)
    client.close()
    ours.lost()
    ours.loop.turn(2)
    gc.disable()
    try:
        ours.protocols.clear()
        assert transport() is None
    finally:
        gc.enable()
