"""Whom a request is for, and what an application is told of its origin."""

from __future__ import annotations

import pytest

from appliance.errors import RequestError
from appliance.http.headers import is_token_list, nominated, origin_fields, split_authority, without


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"example.com", b"example.com"),
        (b"EXAMPLE.com.", b"example.com"),
        (b"example.com:8443", b"example.com"),
        (b"example.com.:65535", b"example.com"),
        (b"a_b-c.example", b"a_b-c.example"),
        (b"192.0.2.1:0", b"192.0.2.1"),
        (b"[2001:DB8::1]", b"[2001:db8::1]"),
        (b"[::1]:443", b"[::1]"),
        (b"[::ffff:192.0.2.1]", b"[::ffff:192.0.2.1]"),
    ],
)
def test_authority(authority: bytes, host: bytes) -> None:
    """The host comes without port and final dot, in lower case."""
    assert split_authority(authority) == host


@pytest.mark.parametrize(
    "authority",
    [
        b"", b".", b":443", b"a:", b"a:x", b"a:65536", b"a:123456", b"a:-1", b"a:4 3", b"a b", b"a,b", b"a/b", b"a@b",
        b"user@a", b"a?b", b"a#b", b"a\\b", b"a%41", b"\xc3\xa4", b"[::1", b"::1", b"[::1]x", b"[]", b"[g::1]",
        b"[::1%25eth0]", b"a\0", b"*.a", b'"a"', b"a" * 256,
    ],
)  # fmt: skip
def test_malformed_authority(authority: bytes) -> None:
    """Anything but a host name or an address, with perhaps a port, is refused with 400."""
    with pytest.raises(RequestError) as caught:
        split_authority(authority)
    assert caught.value.status == 400


def test_connection_options() -> None:
    """A Connection field nominates every token in its list; empty elements count for nothing."""
    assert nominated(b"close, x-a ,,\tx-b") == {b"close", b"x-a", b"x-b"}
    assert is_token_list(b", a,\tb ,")
    assert not is_token_list(b"a;b")
    assert not is_token_list(b'"a"')


def test_connection_options_that_end_badly() -> None:
    """A long list with one bad byte is refused as fast as any other: nobody's value is tried in every way there is."""
    assert not is_token_list(b"a" * 30_000 + b"(")
    assert not is_token_list(b"a ," * 10_000 + b"(")


def test_without() -> None:
    """Fields are taken out by name whatever its case."""
    assert without([(b"X-A", b"1"), (b"b", b"2")], frozenset({b"x-a"})) == [(b"b", b"2")]


def lines(block: bytes) -> dict[bytes, bytes]:
    """The fields of a block of complete lines."""
    assert block.endswith(b"\r\n")
    return dict(line.split(b": ", 1) for line in block.splitlines())


def test_origin() -> None:
    """An application learns client, scheme, host and port as the appliance saw them."""
    assert lines(origin_fields("192.0.2.7", b"https", b"example.com", 443)) == {
        b"X-Forwarded-For": b"192.0.2.7",
        b"X-Forwarded-Proto": b"https",
        b"X-Forwarded-Host": b"example.com",
        b"X-Forwarded-Port": b"443",
        b"Forwarded": b"for=192.0.2.7;host=example.com;proto=https",
        b"Via": b"1.1 appliance",
    }


def test_origin_quotes() -> None:
    """In Forwarded an IPv6 address is bracketed and quoted, and so is a host with a port (RFC 7239 section 6)."""
    fields = lines(origin_fields("2001:db8::7", b"https", b"example.com:8443", 8443))
    assert fields[b"Forwarded"] == b'for="[2001:db8::7]";host="example.com:8443";proto=https'
    assert fields[b"X-Forwarded-For"] == b"2001:db8::7"


def test_origin_unknown() -> None:
    """A client on a UNIX socket has no address."""
    fields = lines(origin_fields("", b"http", b"example.com", 0))
    assert (fields[b"Forwarded"], fields[b"X-Forwarded-For"]) == (
        b"for=unknown;host=example.com;proto=http",
        b"unknown",
    )


def test_origin_continued() -> None:
    """What a trusted proxy tells is continued: chains grow at their end, and its scheme, host and port hold."""
    before = [
        (b"x-forwarded-for", b"198.51.100.1, 198.51.100.2"),
        (b"x-forwarded-for", b""),
        (b"x-forwarded-for", b"198.51.100.3"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"public.example"),
        (b"x-forwarded-port", b"80"),
        (b"forwarded", b"for=198.51.100.1"),
    ]
    assert lines(origin_fields("192.0.2.7", b"https", b"example.com", 443, before)) == {
        b"X-Forwarded-For": b"198.51.100.1, 198.51.100.2, 198.51.100.3, 192.0.2.7",
        b"X-Forwarded-Proto": b"http",
        b"X-Forwarded-Host": b"public.example",
        b"X-Forwarded-Port": b"80",
        b"Forwarded": b"for=198.51.100.1, for=192.0.2.7;host=example.com;proto=https",
        b"Via": b"1.1 appliance",
    }
