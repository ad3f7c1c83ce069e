"""Whom a request is from."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from appliance.proxy.trust import TrustedProxies, address_in, household

PROXIES = TrustedProxies(map(ip_network, ["192.0.2.0/24", "2001:db8::/32"]))
FOR = b"x-forwarded-for"


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("198.51.100.1", [b"203.0.113.1"], "198.51.100.1"),
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", [b"203.0.113.1"], "203.0.113.1"),
        ("192.0.2.1", [b"198.51.100.9, 203.0.113.1"], "203.0.113.1"),
        ("192.0.2.1", [b"198.51.100.9", b"203.0.113.1"], "203.0.113.1"),
        ("192.0.2.1", [b"203.0.113.1,192.0.2.2 , 2001:db8::1"], "203.0.113.1"),
        ("192.0.2.1", [b"192.0.2.3, 192.0.2.2"], "192.0.2.3"),
        ("192.0.2.1", [b"203.0.113.1, unknown"], ""),
        ("192.0.2.1", [b"203.0.113.1, "], ""),
        ("2001:db8::1", [b"[2001:db9::1]:80"], "2001:db9::1"),
        ("", [b"203.0.113.1"], ""),
    ],
)
def test_client(peer: str, chain: list[bytes], client: str) -> None:
    """The last of the chain that is not one of ours; nobody, where one of ours says nothing that makes sense."""
    assert PROXIES.client(peer, [(FOR, value) for value in chain]) == client


def test_other_fields() -> None:
    """Forwarded alone says nothing here: applications and proxies do not agree on how to read it."""
    assert PROXIES.client("192.0.2.1", [(b"forwarded", b"for=203.0.113.1")]) == "192.0.2.1"


def test_long_chains() -> None:
    """No more than a few elements are looked at, whatever is sent."""
    assert PROXIES.client("192.0.2.1", [(FOR, b"203.0.113.1" + b", 192.0.2.2" * 16)]) == "192.0.2.2"


def test_nobody() -> None:
    """By default nobody is trusted."""
    assert "127.0.0.1" not in TrustedProxies()
    assert "" not in PROXIES


@pytest.mark.parametrize(
    ("element", "address"),
    [
        (b"192.0.2.1", "192.0.2.1"),
        (b"192.0.2.1:80", "192.0.2.1"),
        (b"::ffff:192.0.2.1", "192.0.2.1"),
        (b"2001:DB8::1", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"fe80::1%eth0", "fe80::1"),
        (b"_hidden", ""),
        (b"\xff", ""),
        (b"", ""),
    ],
)
def test_addresses(element: bytes, address: str) -> None:
    """With a port, in brackets, with a zone; in its one spelling."""
    assert address_in(element) == address


def test_households() -> None:
    """An IPv6 client is known by its /64, an IPv4 client by its address."""
    assert household("192.0.2.1") == "192.0.2.1"
    assert household("2001:db8::1") == household("2001:db8::2:0:0:1") != household("2001:db8:0:1::1")
