"""Resolvers, and whose addresses are."""

from __future__ import annotations

import pytest

from appliance.ops.diagnosis.dnslookup import is_ours, make_resolver


@pytest.mark.parametrize(
    ("address", "server", "port"),
    [
        ("127.0.0.1", "127.0.0.1", 53),
        ("127.0.0.1:5353", "127.0.0.1", 5353),
        ("[::1]:54", "::1", 54),
        ("::1", "::1", 53),
    ],
)
def test_resolvers(address: str, server: str, port: int) -> None:
    """By address, with or without a port."""
    resolver = make_resolver(address)
    assert (resolver.nameservers, resolver.port) == ([server], port)


@pytest.mark.parametrize("address", ["nine.nine", "127.0.0.1:x", ""])
def test_resolvers_that_are_none(address: str) -> None:
    """Addresses only."""
    with pytest.raises(ValueError):
        make_resolver(address)


def test_whose_addresses() -> None:
    """Loopback is ours, documentation's is not."""
    assert is_ours("127.0.0.1")
    assert not is_ours("192.0.2.1")
    assert not is_ours("2001:db8::1")
