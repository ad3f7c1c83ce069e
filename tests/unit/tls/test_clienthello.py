"""The server name and the protocols found in a ClientHello before OpenSSL reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from appliance.tls.clienthello import LONGEST, application_protocols, missing, server_name


def real_client_hello(name: str | None, alpn: list[bytes] | None = None) -> bytes:
    """What OpenSSL sends."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if alpn:
        context.set_alpn_protos(alpn)
    connection = SSL.Connection(context, None)
    if name is not None:
        connection.set_tlsext_host_name(name.encode())
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(1 << 16)


HELLO = real_client_hello("one.example", [b"h2", b"http/1.1"])


def hello_with(extensions: bytes, *, message_length: int | None = None, kind: int = 1) -> bytes:
    """A ClientHello with exactly these extensions."""
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + len(extensions).to_bytes(2, "big") + extensions
    message = bytes([kind]) + (len(body) if message_length is None else message_length).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(message).to_bytes(2, "big") + message


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


def name_list(name: bytes, kind: int = 0) -> bytes:
    entry = bytes([kind]) + len(name).to_bytes(2, "big") + name
    return len(entry).to_bytes(2, "big") + entry


@pytest.mark.parametrize("name", ["one.example", "a", "xn--bcher-kva.example", "x" * 200 + ".example"])
def test_real(name: str) -> None:
    """What OpenSSL sends is understood."""
    assert server_name(real_client_hello(name)) == name


def test_case_is_folded() -> None:
    """Names are compared without case, so they are returned without."""
    assert server_name(real_client_hello("One.EXAMPLE")) == "one.example"


def test_no_name() -> None:
    """A client that does not say whom it wants."""
    assert server_name(real_client_hello(None)) is None


def test_more_data() -> None:
    """What follows the message (early data, another record) does not matter."""
    assert server_name(HELLO + b"\x17\3\3\0\1x") == "one.example"


def test_every_beginning() -> None:
    """Of an incomplete message nothing is believed."""
    assert [server_name(HELLO[:length]) for length in range(len(HELLO))] == [None] * len(HELLO)


def test_among_other_extensions() -> None:
    """The name is found wherever it stands."""
    others = extension(10, b"\0\2\0\x1d") + extension(43, b"")
    assert server_name(hello_with(others + extension(0, name_list(b"a.b")) + others)) == "a.b"
    assert server_name(hello_with(others)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\0\0",
        name_list(b"a.b") + b"x",
        name_list(b"a.b")[:-1],
        b"\0\7" + name_list(b"a.b")[2:],
        name_list(b"a.b", kind=1),
        name_list("ä.example".encode()),
    ],
)
def test_malformed_extension(body: bytes) -> None:
    """A server_name extension that is not exactly one host name is OpenSSL's to refuse."""
    assert server_name(hello_with(extension(0, body))) is None


def test_other_messages() -> None:
    """Another message, a fragmented one, another protocol: no name."""
    named = extension(0, name_list(b"a.b"))
    assert server_name(hello_with(named)) == "a.b"
    assert server_name(hello_with(named, kind=2)) is None
    assert server_name(hello_with(named, message_length=20_000)) is None
    assert server_name(b"\x17" + hello_with(named)[1:]) is None
    assert server_name(hello_with(b"\0\x0a\0")) is None
    assert server_name(hello_with(named)[:-9]) is None
    assert server_name(b"GET / HTTP/1.1\r\nHost: a.b\r\n\r\n") is None
    wrong_total = bytearray(hello_with(extension(10, b"")))
    wrong_total[-5] += 1
    assert server_name(bytes(wrong_total)) is None


@given(st.binary(max_size=300))
def test_never_raises(data: bytes) -> None:
    """Whatever comes, it is a name or None."""
    assert server_name(b"\x16\3\1\0" + data) is None or isinstance(server_name(data), str)


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_never_raises_when_changed(position: int, value: int) -> None:
    """One wrong byte anywhere is a name or None."""
    changed = bytearray(HELLO)
    changed[position] = value
    assert isinstance(server_name(bytes(changed)), str | None)


def offer(*names: bytes) -> bytes:
    entries = b"".join(bytes([len(name)]) + name for name in names)
    return len(entries).to_bytes(2, "big") + entries


def test_protocols() -> None:
    """As offered, in order; none without ALPN."""
    assert application_protocols(HELLO) == (b"h2", b"http/1.1")
    assert application_protocols(real_client_hello("one.example", [b"acme-tls/1"])) == (b"acme-tls/1",)
    assert application_protocols(real_client_hello("one.example")) == ()
    assert application_protocols(hello_with(extension(16, offer(b"a", b"b" * 255)))) == (b"a", b"b" * 255)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        offer(),
        offer(b""),
        offer(b"a", b""),
        offer(b"a") + b"x",
        offer(b"ab")[:-1],
        b"\0\3\5ab",
    ],
)
def test_malformed_protocols(body: bytes) -> None:
    """Whatever is not a list of names is no offer of any."""
    assert application_protocols(hello_with(extension(16, body))) == ()


def test_what_is_missing() -> None:
    """The length of the whole record while it is incomplete; nothing is waited for that is no handshake."""
    assert [missing(HELLO[:length]) for length in (0, 4)] == [0, 0]
    assert {missing(HELLO[:length]) for length in range(5, len(HELLO))} == {len(HELLO)}
    assert missing(HELLO) == missing(HELLO + b"more") == 0
    assert missing(b"GET / HTTP/1.1") == 0
    assert missing(b"\x16\3\1" + (LONGEST - 4).to_bytes(2, "big")) == 0


@given(st.binary(max_size=300))
def test_protocols_never_raise(data: bytes) -> None:
    """Whatever comes, it is a tuple."""
    assert isinstance(application_protocols(data), tuple)
    assert isinstance(application_protocols(hello_with(extension(16, data))), tuple)
