"""A CA's TLS-ALPN-01 validation among ordinary clients, on TLS on the socket and on Twisted's own TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from appliance.acme.challenges import ChallengeResponse, PresentedChallenge
from appliance.acme.tlsalpn import TlsAlpnChallenges
from appliance.tls.endpoint import TlsListening
from appliance.tls.snimap import SniMap
from tests.support.certificates import make_certificate
from tests.support.loop import Loop, loop

ONE = make_certificate(["one.example"])
CHALLENGE = PresentedChallenge("tls-alpn-01", "token")
RESPONSE = ChallengeResponse("token.thumb")
ACME = (b"acme-tls/1",)


@implementer(IHandshakeListener)
class Echo(Protocol):
    """Counts handshakes, and answers."""

    def connectionMade(self) -> None:
        self.factory.made.append(self)  # type: ignore[union-attr]
        self.handshakes = 0
        self.lost: Any = None

    def handshakeCompleted(self) -> None:
        self.handshakes += 1

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason.value


class Client:
    """The client's end in memory: what it sends is passed on as the test says."""

    def __init__(self, running: Loop, connection: socket.socket, name: str, protocols: tuple[bytes, ...]) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if protocols:
            context.set_alpn_protos(list(protocols))
        self.tls = SSL.Connection(context, None)
        self.tls.set_tlsext_host_name(name.encode())
        self.tls.set_connect_state()
        self._loop = running
        self.socket = connection
        self.socket.setblocking(False)
        self.ended = False

    def first_flight(self) -> bytes:
        with pytest.raises(SSL.WantReadError):
            self.tls.do_handshake()
        return self.tls.bio_read(1 << 16)

    def handshake(self, pieces: Callable[[bytes], list[bytes]] = lambda data: [data]) -> x509.Certificate:
        """The server's certificate; raises ``SSL.Error`` for an alert. ``pieces`` cuts the ClientHello up."""
        for piece in pieces(self.first_flight()):
            self.socket.send(piece)
            self._loop.turn(3)
        self._loop.until(lambda: self.step(self.tls.do_handshake), "the handshake")
        leaf = self.tls.get_peer_certificate(as_cryptography=True)
        assert leaf is not None
        return leaf

    def step(self, action: Callable[[], Any]) -> bool:
        done = False
        try:
            action()
            done = True
        except SSL.WantReadError:
            pass
        with suppress(SSL.WantReadError):
            self.socket.sendall(self.tls.bio_read(1 << 16))
        if not done:
            self._receive()
        return done

    def _receive(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
            self.ended = not data
            self.tls.bio_write(data) if data else self.tls.bio_shutdown()
        except BlockingIOError:
            pass

    def closed_by_server(self) -> bool:
        """Whether a close_notify came."""
        try:
            return self.step(lambda: self.tls.recv(1)) and False
        except SSL.ZeroReturnError:
            return True


class Server:
    """Listens with either kind of TLS."""

    def __init__(self, running: Loop, kind: str, folder: Path) -> None:
        self.challenges = TlsAlpnChallenges(lambda: datetime.now(UTC))
        sni_map = SniMap(self.challenges)
        sni_map.swap("one", ["one.example"], ONE)
        factory: Any = Factory.forProtocol(Echo)
        self.made: list[Echo] = []
        factory.made = self.made
        listening = TlsListening(running.reactor, sni_map)
        self._loop = running
        self._path = str(folder / "tls.sock")
        self._port: Any = None
        self._clients: list[Client] = []
        if kind == "socket":
            self._port = listening.listenTCP(0, factory, interface="127.0.0.1")
        else:
            listening.listenUNIX(self._path.encode(), factory)

    def connect(self, name: str, *protocols: bytes) -> Client:
        if self._port is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self._path)
        else:
            connection = socket.create_connection(("127.0.0.1", self._port.getHost().port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(self._loop, connection, name, protocols)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.socket.close()

    def present(self, name: str) -> None:
        self.challenges.start_responding(name, CHALLENGE, RESPONSE)


@pytest.fixture
def running() -> Iterator[Loop]:
    with loop() as made:
        yield made


@pytest.fixture(params=["socket", "memory"])
def server(running: Loop, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    made = Server(running, request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def on_socket(running: Loop, tmp_path: Path) -> Iterator[Server]:
    made = Server(running, "socket", tmp_path)
    yield made
    made.close()


def is_proof(leaf: x509.Certificate) -> bool:
    return any(extension.oid.dotted_string == "1.3.6.1.5.5.7.1.31" for extension in leaf.extensions)


@pytest.mark.parametrize("name", ["one.example", "new.example"])
def test_the_ca_gets_its_certificate_and_a_close(server: Server, running: Loop, name: str) -> None:
    """For a name that is served already and for one that is not; the application behind never hears of it."""
    server.present(name)
    client = server.connect(name, *ACME)
    leaf = client.handshake()
    assert is_proof(leaf)
    assert client.tls.get_alpn_proto_negotiated() == b"acme-tls/1"
    running.until(client.closed_by_server, "the close")
    client.socket.close()
    running.until(lambda: server.made[0].lost, "the end")


@pytest.mark.parametrize("offer", [(), (b"http/1.1",), (b"acme-tls/1", b"http/1.1")])
def test_nothing_changes_for_others(server: Server, running: Loop, offer: tuple[bytes, ...]) -> None:
    """While a challenge for the very name is presented: their certificate, their protocol, their data."""
    server.present("one.example")
    client = server.connect("one.example", *offer)
    assert client.handshake() == ONE.leaf
    client.step(lambda: client.tls.send(b"hello"))
    received = bytearray()
    running.until(lambda: client.step(lambda: received.extend(client.tls.recv(5))), "the echo")
    assert received == b"hello"
    assert server.made[0].handshakes == 1


def test_others_never_get_a_challenge_certificate(server: Server) -> None:
    """A name that only has a challenge does not exist for ordinary clients."""
    server.present("new.example")
    with pytest.raises(SSL.Error):
        server.connect("new.example", b"http/1.1").handshake()


def test_no_challenge_for_this_name(server: Server) -> None:
    """Who validates what is not being presented is refused, not answered with a site's certificate."""
    with pytest.raises(SSL.Error):
        server.connect("one.example", *ACME).handshake()
    server.present("new.example")
    with pytest.raises(SSL.Error):
        server.connect("one.example", *ACME).handshake()


@pytest.mark.parametrize("cut", [5, 100, -1])
def test_a_client_hello_in_pieces(server: Server, running: Loop, cut: int) -> None:
    """It is longer than a segment with today's key shares; the rest is waited for."""
    server.present("one.example")
    client = server.connect("one.example", *ACME)
    assert is_proof(client.handshake(lambda data: [data[:cut], data[cut:]]))
    running.until(client.closed_by_server, "the close")


@pytest.mark.parametrize("challenge", [True, False])
def test_waiting_for_the_rest_costs_nothing(running: Loop, on_socket: Server, challenge: bool) -> None:
    """Half a ClientHello lies unread in the socket: the reactor is not woken for it. It need not be a CA's."""
    server = on_socket
    if challenge:
        server.present("one.example")
    client = server.connect("one.example", *ACME)
    client.socket.send(client.first_flight()[:200])
    running.until(lambda: server.made and server.made[0].transport._awaited, "the first half")  # type: ignore[union-attr]
    reads = 0
    transport: Any = server.made[0].transport
    original = transport.doRead

    def count() -> Any:
        nonlocal reads
        reads += 1
        return original()

    transport.doRead = count
    running.turn(20)
    assert reads == 0
    client.socket.close()
    running.until(lambda: server.made[0].lost, "the end")


def test_half_a_client_hello_and_the_end(running: Loop, on_socket: Server) -> None:
    """A client that goes away while the rest is waited for is let go."""
    server = on_socket
    server.present("one.example")
    client = server.connect("one.example")
    client.socket.send(client.first_flight()[:200])
    running.until(lambda: server.made and server.made[0].transport._awaited, "the first half")  # type: ignore[union-attr]
    client.socket.shutdown(socket.SHUT_WR)
    running.until(lambda: server.made[0].lost, "the end")
    client.socket.close()
