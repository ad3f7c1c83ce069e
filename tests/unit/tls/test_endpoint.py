"""Endpoint strings that end in ports of ours."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol

from appliance.tls.endpoint import PlainListening, TlsListening
from appliance.tls.snimap import SniMap, served_certificate
from tests.support.certificates import make_certificate
from tests.support.loop import Loop, loop

ONE = make_certificate(["one.example"])


class Echo(Protocol):
    def connectionMade(self) -> None:
        self.factory.made.append(self)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]


@pytest.fixture
def running() -> Iterator[Loop]:
    with loop() as made:
        yield made


@pytest.fixture
def factory() -> Factory:
    made: Any = Factory.forProtocol(Echo)
    made.made = []
    factory: Factory = made
    return factory


@pytest.fixture
def tls(running: Loop) -> TlsListening:
    sni_map = SniMap()
    sni_map.swap("one", ["one.example"], ONE)
    return TlsListening(running.reactor, sni_map)


def result(deferred: Any) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "listening takes no time"
    return results[0]


def plain_echo(running: Loop, connection: socket.socket) -> None:
    connection.setblocking(False)
    connection.send(b"hello")
    received = bytearray()

    def step() -> bool:
        try:
            received.extend(connection.recv(100))
        except BlockingIOError:
            return False
        return received == b"hello"

    running.until(step, "the echo")


def tls_echo(running: Loop, connection: socket.socket) -> None:
    connection.setblocking(False)
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), connection)
    client.set_tlsext_host_name(b"one.example")
    client.set_connect_state()

    def attempt(step: Callable[[], Any]) -> Callable[[], Any]:
        def tried() -> Any:
            try:
                return step() or True
            except SSL.WantReadError:
                return None

        return tried

    running.until(attempt(client.do_handshake), "the handshake")
    assert client.get_peer_certificate(as_cryptography=True) == ONE.leaf
    client.send(b"hello")
    assert running.until(attempt(lambda: client.recv(100)), "the echo") == b"hello"


@pytest.mark.parametrize("kind", ["plain", "tls"])
@pytest.mark.parametrize("interface", ["127.0.0.1", r"\:\:1"])
def test_tcp(running: Loop, tls: TlsListening, factory: Any, kind: str, interface: str) -> None:
    """``tcp:`` over IPv4 and IPv6: no Nagle delays, the peer's address as it is."""
    listening = tls if kind == "tls" else PlainListening(running.reactor)
    port = result(serverFromString(listening, f"tcp:0:interface={interface}").listen(factory))
    with socket.create_connection((port.getHost().host, port.getHost().port)) as connection:
        (tls_echo if kind == "tls" else plain_echo)(running, connection)
        transport = factory.made[0].transport
        assert transport.getTcpNoDelay()
        assert transport.getPeer().host == port.getHost().host
        assert (served_certificate(transport) is not None) is (kind == "tls")


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_unix(running: Loop, tls: TlsListening, factory: Any, kind: str, tmp_path: Path) -> None:
    """``unix:``, with TLS by Twisted's own."""
    listening = tls if kind == "tls" else PlainListening(running.reactor)
    result(serverFromString(listening, f"unix:{tmp_path}/socket:mode=600").listen(factory))
    assert os.stat(tmp_path / "socket").st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "socket"))
        (tls_echo if kind == "tls" else plain_echo)(running, connection)
        served = served_certificate(factory.made[0].transport)
        assert (served is not None and served.site == "one") is (kind == "tls")


@pytest.mark.parametrize("kind", ["plain", "tls"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_inherited(
    running: Loop, tls: TlsListening, factory: Any, kind: str, family: socket.AddressFamily, tmp_path: Path
) -> None:
    """A listening socket that systemd made, of each family."""
    listening = tls if kind == "tls" else PlainListening(running.reactor)
    address: Any = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}.get(family, f"{tmp_path}/socket")
    with socket.socket(family) as inherited:
        inherited.bind(address)
        inherited.listen()
        endpoint = AdoptedStreamServerEndpoint(listening, os.dup(inherited.fileno()), family)
        result(endpoint.listen(factory))
        with socket.socket(family) as connection:
            connection.connect(inherited.getsockname())
            (tls_echo if kind == "tls" else plain_echo)(running, connection)


def test_taken_port(running: Loop, tls: TlsListening, factory: Any) -> None:
    """A port that somebody has is an error at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotListenError):
            tls.listenTCP(taken.getsockname()[1], factory, interface="127.0.0.1")


def test_every_address_means_ipv6_too(running: Loop, factory: Factory) -> None:
    """``tcp:443`` is reached over IPv4 and IPv6, by one socket."""
    port = result(serverFromString(PlainListening(running.reactor), "tcp:0").listen(factory))
    number = port.getHost().port
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as client:
            client.connect((address, number))


def test_without_ipv6_every_address_is_ipv4(running: Loop, factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without IPv6 is no reason not to listen."""
    real = socket.socket

    def without_ipv6(family: int = socket.AF_INET, *arguments: int, **more: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *arguments, **more)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    port = result(serverFromString(PlainListening(running.reactor), "tcp:0").listen(factory))
    assert port.getHost().host == "0.0.0.0"
