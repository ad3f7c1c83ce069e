"""The SNI map, and what its contexts offer to clients: full handshakes in memory and over sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.protocol import Factory, Protocol

from appliance.errors import CertificateError
from appliance.tls.certificate import Certificate
from appliance.tls.context import _supported_groups
from appliance.tls.endpoint import TlsListening
from appliance.tls.snimap import ServedCertificate, SniMap, served_certificate
from tests.support.certificates import make_certificate, make_key
from tests.support.loop import Loop, loop
from tests.support.tlsclient import TlsClient

ONE = make_certificate(["one.example", "www.one.example"])
TWO = make_certificate(["two.example"])
WILD = make_certificate(["*.wild.example", "wild.example"])


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]


@pytest.fixture
def running() -> Iterator[Loop]:
    with loop() as made:
        yield made


@pytest.fixture
def sni_map() -> SniMap:
    made = SniMap()
    made.swap("one.example", ["one.example", "www.one.example"], ONE)
    made.swap("two.example", ["two.example"], TWO)
    return made


Connect = Callable[..., TlsClient]


@pytest.fixture
def connect(running: Loop, sni_map: SniMap) -> Iterator[Connect]:
    """Connects to an echo server with ``sni_map``."""
    port: Any = TlsListening(running.reactor, sni_map).listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
    clients: list[TlsClient] = []

    def connect(*args: Any, **kwargs: Any) -> TlsClient:
        clients.append(TlsClient(running, port.getHost().port, *args, **kwargs))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def served_leaf(client: TlsClient) -> x509.Certificate:
    leaf = client.tls.get_peer_certificate(as_cryptography=True)
    assert leaf is not None
    return leaf


def session_of(client: TlsClient) -> SSL.Session:
    """The client's session, with its TLS 1.3 ticket, after a clean end (a broken connection's is not resumed)."""
    client.send(b"x")
    assert client.receive(1) == b"x"
    session = client.tls.get_session()
    client.tls.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    assert session is not None
    return session


def resumed(client: TlsClient) -> bool:
    client.handshake()
    return bool(lib.SSL_session_reused(client.tls._ssl))


# -- the map


def test_lookup(sni_map: SniMap) -> None:
    """Names are found in any case, the site by its own name, and nothing else is."""
    one = sni_map.served("one.example")
    assert one is not None
    assert one.certificate is ONE
    assert sni_map.lookup("one.example") is sni_map.lookup("WWW.One.Example") is one
    assert sni_map.lookup("three.example") is None
    assert sni_map.lookup("") is None
    assert sni_map.served("www.one.example") is None


def test_wildcards(sni_map: SniMap) -> None:
    """A wildcard covers one label; an exact name goes before it."""
    sni_map.swap("wild", ["*.Wild.example", "wild.example"], WILD)
    wild = sni_map.served("wild")
    assert sni_map.lookup("a.wild.example") is sni_map.lookup("wild.example") is wild
    assert sni_map.lookup("b.a.wild.example") is None
    exact = make_certificate(["a.wild.example"])
    sni_map.swap("exact", ["a.wild.example"], exact)
    assert sni_map.lookup("a.wild.example") is sni_map.served("exact")
    assert sni_map.lookup("b.wild.example") is wild


def test_swap_replaces_names(sni_map: SniMap) -> None:
    """A site whose names change leaves none of the old ones behind; the others stay."""
    new = make_certificate(["one.example", "new.one.example"])
    sni_map.swap("one.example", ["one.example", "new.one.example"], new)
    served = sni_map.served("one.example")
    assert served is not None
    assert served.certificate is new
    assert sni_map.lookup("new.one.example") is served
    assert sni_map.lookup("www.one.example") is None
    assert sni_map.lookup("two.example") is sni_map.served("two.example")


def test_remove(sni_map: SniMap) -> None:
    """A removed site is not served; removing it again is nothing."""
    sni_map.remove("one.example")
    sni_map.remove("one.example")
    assert sni_map.served("one.example") is None
    assert sni_map.lookup("www.one.example") is None
    assert sni_map.lookup("two.example") is not None


def test_bad_certificate_changes_nothing(sni_map: SniMap) -> None:
    """What OpenSSL refuses is not served, and what was served is served on."""
    before = sni_map.served("one.example")
    with pytest.raises(CertificateError, match=r"OpenSSL refuses the certificate [0-9a-f]+: .*mismatch"):
        sni_map.swap("one.example", ["one.example"], Certificate(make_key(), ONE.leaf))
    assert sni_map.served("one.example") is before


def test_covers() -> None:
    """The certificate decides what a connection may be asked for."""
    served = ServedCertificate("wild", WILD)
    assert served.covers("x.Wild.example")
    assert not served.covers("one.example")


def test_names_that_moved(sni_map: SniMap) -> None:
    """A name that went to another site is not lost when its former site changes."""
    three = make_certificate(["www.one.example"])
    sni_map.swap("three", ["www.one.example"], three)
    sni_map.remove("one.example")
    assert sni_map.lookup("www.one.example") is sni_map.served("three")
    assert sni_map.lookup("one.example") is None


# -- handshakes


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa"])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_key_types(sni_map: SniMap, connect: Connect, key_type: str, version: int) -> None:
    """Keys of each kind serve both versions, with their whole chain."""
    certificate = make_certificate(["key.example"], key_type=key_type)
    chained = Certificate(certificate.key, certificate.leaf, (TWO.leaf,))
    sni_map.swap("key", ["key.example"], chained)
    client = connect("key.example", version=version).handshake()
    chain = client.tls.get_peer_cert_chain(as_cryptography=True)
    assert chain == [certificate.leaf, TWO.leaf]


def test_each_name_its_certificate(connect: Connect) -> None:
    """Each name gets its own site's certificate, in whatever case it is asked for."""
    assert served_leaf(connect("one.example").handshake()) == ONE.leaf
    assert served_leaf(connect("WWW.ONE.example").handshake()) == ONE.leaf
    assert served_leaf(connect("two.example").handshake()) == TWO.leaf


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("name", ["three.example", None, "example"])
def test_unknown_name(connect: Connect, name: str | None, version: int) -> None:
    """Unknown names, and clients that name none, get an alert and no certificate."""
    client = connect(name, version=version)
    with pytest.raises(SSL.Error, match="handshake failure"):
        client.handshake()
    assert client.tls.get_peer_certificate(as_cryptography=True) is None


def test_post_quantum_first(connect: Connect) -> None:
    """The hybrid key exchange is chosen when the client has it, as this OpenSSL's has."""
    client = connect("one.example").handshake()
    assert client.tls.get_group_name() == "X25519MLKEM768"


@pytest.mark.parametrize(
    ("group", "accepted"),
    [("X25519", True), ("P-256", True), ("P-384", True), ("X448", False), ("P-521", False)],
)
def test_groups(connect: Connect, group: str, accepted: bool) -> None:
    """Of the key exchange groups only Mozilla's are there."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    assert lib.SSL_CTX_set1_curves_list(context._context, group.encode()) == 1
    client = connect("one.example", context=context)
    if accepted:
        client.handshake()
    else:
        with pytest.raises(SSL.Error, match="handshake failure"):
            client.handshake()


@pytest.mark.parametrize(
    ("cipher", "accepted"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES128-SHA256", False),
        ("ECDHE-ECDSA-AES128-SHA", False),
        ("ECDHE-ECDSA-AES128-CCM", False),
        ("ECDHE-ECDSA-ARIA128-GCM-SHA256", False),
    ],
)
def test_tls_1_2_ciphers(connect: Connect, cipher: str, accepted: bool) -> None:
    """AES-GCM and ChaCha20 with ephemeral keys, no CBC, no CCM, nothing exotic."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(cipher.encode())
    client = connect("one.example", context=context)
    if accepted:
        assert client.handshake().tls.get_cipher_name() == cipher
    else:
        with pytest.raises(SSL.Error, match="handshake failure"):
            client.handshake()


def test_old_versions(connect: Connect) -> None:
    """TLS 1.1 is over."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    client = connect("one.example", context=context)
    with pytest.raises(SSL.Error, match="protocol version"):
        client.handshake()


def test_alpn(connect: Connect) -> None:
    """http/1.1 is chosen wherever it stands in the offer; an offer without it is refused (RFC 7301)."""
    client = connect("one.example", alpn=(b"h2", b"http/1.1")).handshake()
    assert client.tls.get_alpn_proto_negotiated() == b"http/1.1"
    with pytest.raises(SSL.Error, match="no application protocol"):
        connect("one.example", alpn=(b"acme-tls/1", b"imap")).handshake()
    assert connect("one.example").handshake().tls.get_alpn_proto_negotiated() == b""


# -- sessions


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_resumption_within_a_site(connect: Connect, version: int) -> None:
    """A ticket resumes on any name of its site."""
    first = connect("one.example", version=version)
    assert not resumed(first)
    session = session_of(first)
    again = connect("www.one.example", session=session, context=first.context)
    assert resumed(again)
    again.send(b"hello")
    assert again.receive(5) == b"hello"


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_no_resumption_across_sites(connect: Connect, version: int) -> None:
    """A ticket of one site gives a full handshake, with the right certificate, on another."""
    first = connect("one.example", version=version)
    session = session_of(first)
    other = connect("two.example", session=session, context=first.context)
    assert not resumed(other)
    assert served_leaf(other) == TWO.leaf
    none = connect("three.example", session=session, context=first.context)
    with pytest.raises(SSL.Error, match="handshake failure"):
        none.handshake()


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_rotation_ends_resumption(sni_map: SniMap, connect: Connect, version: int) -> None:
    """After a rotation old tickets give a full handshake, new ones resume, and open connections go on."""
    first = connect("one.example", version=version)
    session = session_of(first)
    sni_map.rotate_ticket_keys()
    second = connect("one.example", session=session, context=first.context)
    assert not resumed(second)
    third = connect("one.example", session=session_of(second), context=first.context)
    assert resumed(third)
    third.send(b"still here")
    assert third.receive(10) == b"still here"


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_no_resumption_without_foreknowledge(
    sni_map: SniMap, connect: Connect, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """A handshake that begins before the name is known gets the right certificate, the same ALPN, and no resumption."""
    monkeypatch.setattr("appliance.tls.snimap.server_name", lambda _data: None)
    first = connect("one.example", version=version, alpn=(b"http/1.1",)).handshake()
    assert served_leaf(first) == ONE.leaf
    assert first.tls.get_alpn_proto_negotiated() == b"http/1.1"
    session = session_of(first)
    for name, leaf in (("one.example", ONE.leaf), ("two.example", TWO.leaf)):
        second = connect(name, session=session, context=first.context)
        assert not resumed(second)
        assert served_leaf(second) == leaf


def test_fallback_refuses_what_the_others_refuse(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without foreknowledge unknown names get the same alert, as do names that are no names."""
    monkeypatch.setattr("appliance.tls.snimap.server_name", lambda _data: None)
    for name in ("three.example", None, "\udcff.example".encode("utf-8", "surrogateescape").decode("latin-1")):
        with pytest.raises(SSL.Error, match="handshake failure"):
            connect(name).handshake()


def test_fallback_survives_errors(sni_map: SniMap, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while choosing is logged, and the client gets an alert instead of a wrong certificate."""
    monkeypatch.setattr("appliance.tls.snimap.server_name", lambda _data: None)

    def fail(_name: str) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(sni_map, "lookup", fail)
    with pytest.raises(SSL.Error, match="handshake failure"):
        connect("one.example").handshake()


def test_context_that_breaks_later(sni_map: SniMap, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that OpenSSL no longer takes costs its site the handshake, and nothing else."""

    def refuse(_certificate: Certificate, _protocols: tuple[bytes, ...]) -> None:
        raise CertificateError("OpenSSL refuses it")

    connect("two.example").handshake()
    monkeypatch.setattr("appliance.tls.contextcache.site_context", refuse)
    with pytest.raises(SSL.Error, match="handshake failure"):
        connect("one.example").handshake()
    connect("two.example").handshake()


def test_few_contexts_for_many_sites() -> None:
    """Contexts are made for those that clients ask for; the ones used last are kept."""
    sni_map = SniMap(contexts=2)
    for name in ("a.example", "b.example", "c.example"):
        sni_map.swap(name, [name], make_certificate([name]))
    contexts = sni_map._contexts
    assert len(contexts) == 0
    a, b, c = (sni_map.served(name) for name in ("a.example", "b.example", "c.example"))
    assert a is not None
    assert b is not None
    assert c is not None
    first, second = contexts.get(a), contexts.get(b)
    assert contexts.get(a) is first
    contexts.get(c)
    assert len(contexts) == 2
    assert contexts.get(a) is first
    assert contexts.get(b) is not second
    sni_map.remove("b.example")
    assert len(contexts) == 1
    sni_map.swap("a.example", ["a.example"], make_certificate(["a.example"]))
    assert len(contexts) == 0


def test_older_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the post-quantum group is unknown the others are offered, and no error is left behind."""
    assert _supported_groups.__wrapped__() == b"X25519MLKEM768:X25519:P-256:P-384"
    monkeypatch.setattr("appliance.tls.context._POST_QUANTUM_GROUPS", b"NOVEL768:X25519")
    assert _supported_groups.__wrapped__() == b"X25519:P-256:P-384"
    assert lib.ERR_peek_error() == 0


# -- swaps


def test_swap_under_open_connections(sni_map: SniMap, connect: Connect) -> None:
    """A connection lives on over a swap and keeps what it proved; the next one gets the new certificate."""
    client = connect("one.example")
    client.send(b"before")
    assert client.receive(6) == b"before"
    new = make_certificate(["one.example"])
    sni_map.swap("one.example", ["one.example"], new)
    client.send(b"after" * 100_000)
    assert client.receive(500_000) == b"after" * 100_000
    assert served_leaf(client) == ONE.leaf
    assert served_leaf(connect("one.example").handshake()) == new.leaf


def test_swap_in_mid_handshake(running: Loop, sni_map: SniMap, connect: Connect) -> None:
    """A handshake that began before a swap is completed with what it began with."""
    client = connect("one.example")
    with pytest.raises(SSL.WantReadError):
        client.tls.do_handshake()
    running.turn(5)
    sni_map.swap("one.example", ["one.example"], make_certificate(["one.example"]))
    assert served_leaf(client.handshake()) == ONE.leaf


def test_served_certificate_without_tls() -> None:
    """A transport without TLS proved nothing."""

    class Plain:
        def getHandle(self) -> object:
            return object()

    assert served_certificate(Plain()) is None


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_clients_of_an_address_name_nothing(connect: Connect, sni_map: SniMap, version: int) -> None:
    """They get the certificate of the address that they connected to, and nobody else's."""
    loopback = make_certificate(["127.0.0.1"])
    sni_map.swap("127.0.0.1", ["127.0.0.1"], loopback)
    sni_map.swap("2001:db8::1", ["2001:db8::1"], make_certificate(["2001:db8::1"]))
    assert served_leaf(connect(None, version=version).handshake()) == loopback.leaf
    sni_map.swap("127.0.0.1", ["192.0.2.1"], make_certificate(["192.0.2.1"]))
    with pytest.raises(SSL.Error, match="handshake failure"):
        connect(None, version=version).handshake()


def test_the_only_address(connect: Connect, sni_map: SniMap) -> None:
    """Behind a router nobody connects to the address itself: the only one served is meant."""
    outside = make_certificate(["2001:db8::1"])
    sni_map.swap("2001:db8::1", ["2001:db8::1"], outside)
    assert served_leaf(connect(None).handshake()) == outside.leaf
    served = sni_map.served("2001:db8::1")
    assert served is not None
    assert served.covers("[2001:db8::1]")
