"""Connections that are accepted twice, on real sockets: header first, to the byte, then as if the client had come."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from appliance.net.announced import Announcing
from appliance.net.deadlines import Deadlines
from appliance.net.proxyprotocol import SIGNATURE, Connection, write_v1, write_v2
from appliance.tls.endpoint import PlainListening
from tests.support.loop import Loop, loop

CLIENT = Connection("203.0.113.7", 51234, "198.51.100.1", 443)


class Echo(Protocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class Place:
    """A listener for ``networks``, and the protocols it made."""

    def __init__(self, loop: Loop, networks: str, interface: str = "127.0.0.1") -> None:
        self.loop = loop
        self.made: list[tuple[Any, Echo]] = []
        self.refuse = False
        self.deadlines = Deadlines(loop.reactor)
        announcing = Announcing([ip_network(networks)], self.deadlines, patience=60.0)
        factory = Factory.forProtocol(Echo)
        factory.noisy = False
        factory.buildProtocol = self._build  # type: ignore[method-assign,assignment]
        self.port: Any = PlainListening(loop.reactor, announcing).listenTCP(0, factory, interface=interface)
        self.logged: list[str] = []

    def _build(self, address: Any) -> Echo | None:
        if self.refuse:
            return None
        self.made.append((address, Echo()))
        return self.made[-1][1]

    def connect(self) -> socket.socket:
        """A load balancer's connection."""
        host = "127.0.0.1" if ":" not in self.port.getHost().host else "::1"
        return socket.create_connection((host, self.port.getHost().port), timeout=5)

    def closed(self, peer: socket.socket) -> bool:
        """Whether our end was closed without a word."""
        peer.setblocking(False)
        with suppress(BlockingIOError):
            with suppress(ConnectionResetError):
                assert peer.recv(1) == b""
            return True
        return False


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize("header", [write_v1(CLIENT), write_v2(CLIENT)])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_the_ends_are_those_announced(header: bytes, piece: int) -> None:
    """However the header comes in pieces; what follows it is the connection's, untouched."""
    with loop() as turning:
        place = Place(turning, "127.0.0.0/8")
        with place.connect() as peer:
            data = header + b"hello"
            for start in range(0, len(data), piece):
                peer.sendall(data[start : start + piece])
                turning.turn(3)
            turning.until(lambda: place.made and place.made[0][1].received == b"hello", "the data")
            [(address, protocol)] = place.made
            transport: Any = protocol.transport
            assert (address.host, address.port) == ("203.0.113.7", 51234)
            assert (transport.getPeer().host, transport.getPeer().port) == ("203.0.113.7", 51234)
            assert (transport.getHost().host, transport.getHost().port) == ("198.51.100.1", 443)
            transport.write(b"answer")
            assert peer.recv(100) == b"answer"
            assert len(place.deadlines) == 0
            peer.close()
            turning.until(lambda: protocol.lost, "the end")


def test_ipv6_clients_over_an_ipv4_connection() -> None:
    """Addresses are of the announced family, not of the socket's."""
    with loop() as turning:
        place = Place(turning, "127.0.0.0/8")
        with place.connect() as peer:
            peer.sendall(write_v1(Connection("2001:db8::7", 1, "2001:db8::1", 443)))
            turning.until(lambda: place.made, "the protocol")
            transport: Any = place.made[0][1].transport
            assert (transport.getPeer().host, transport.getHost().host) == ("2001:db8::7", "2001:db8::1")


@pytest.mark.parametrize("header", [write_v1(None), write_v2(None)])
def test_a_balancer_that_speaks_for_itself(header: bytes) -> None:
    """The ends are the socket's, on a socket for both families too."""
    with loop() as turning:
        place = Place(turning, "127.0.0.0/8", interface="")
        with socket.create_connection(("127.0.0.1", place.port.getHost().port), timeout=5) as peer:
            peer.sendall(header)
            turning.until(lambda: place.made, "the protocol")
            transport: Any = place.made[0][1].transport
            assert transport.getPeer().host.endswith("127.0.0.1")
            assert transport.getPeer().port == peer.getsockname()[1]
            assert transport.getHost().port == peer.getpeername()[1]


@pytest.mark.parametrize(
    ("networks", "sent", "words"),
    [
        ("127.0.0.0/8", b"GET / HTTP/1.1\r\n", "it does not begin with a PROXY protocol header"),
        ("127.0.0.0/8", SIGNATURE + b"\x31\x11\0\0", "unknown version or command"),
        ("192.0.2.0/24", b"", "it is not in proxy_protocol_from"),
    ],
)
def test_refused(logged: list[str], networks: str, sent: bytes, words: str) -> None:
    """Closed, no protocol made; the log says why, once for many."""
    with loop() as turning:
        place = Place(turning, networks)
        for _ in range(3):
            with place.connect() as peer:
                peer.sendall(sent)
                turning.until(lambda peer=peer: place.closed(peer), "the close")  # type: ignore[misc]
        assert not place.made
        [line] = [line for line in logged if "Closed a connection" in line]
        assert line.startswith("Closed a connection from 127.0.0.1: ")
        assert words in line


def test_too_late(logged: list[str]) -> None:
    """Half a header is given up after its time."""
    with loop() as turning:
        place = Place(turning, "127.0.0.0/8")
        with place.connect() as peer:
            peer.sendall(b"PROXY TCP4")
            turning.until(lambda: len(place.deadlines), "the connection")
            for waiting in list(place.deadlines._expiring):
                waiting.deadline = 0.0
            place.deadlines.sweep()
            turning.until(lambda: place.closed(peer), "the close")
            assert len(place.deadlines) == 0
        assert any("in time" in line for line in logged)


def test_gone_before_the_end_of_the_header() -> None:
    """Closed or reset: nothing remains."""
    with loop() as turning:
        place = Place(turning, "127.0.0.0/8")
        for reset in (False, True):
            peer = place.connect()
            peer.sendall(b"PROXY TCP4")
            turning.until(lambda: len(place.deadlines), "the connection")
            if reset:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            turning.until(lambda: not len(place.deadlines), "the end")
        assert not place.made


def test_a_factory_that_will_not_have_the_client() -> None:
    """The connection is closed, as by any port."""
    with loop() as turning:
        place = Place(turning, "127.0.0.0/8")
        place.refuse = True
        with place.connect() as peer:
            peer.sendall(write_v1(CLIENT))
            turning.until(lambda: place.closed(peer), "the close")
