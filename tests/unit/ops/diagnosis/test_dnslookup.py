"""Resolvers, and whose addresses are."""

from __future__ import annotations

from pathlib import Path

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


def test_a_system_without_a_resolver(tmp_path: Path) -> None:
    """It is said how to name one, whether its file names none or is not there."""
    system = tmp_path / "resolv.conf"
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{system} names no DNS server: name one by --resolver"):
            make_resolver(None, str(system))
        system.write_text("search example.com\n")
    system.write_text("nameserver 192.0.2.53\n")
    assert make_resolver(None, str(system)).nameservers == ["192.0.2.53"]


def test_whose_addresses() -> None:
    """Loopback is ours, documentation's is not."""
    assert is_ours("127.0.0.1")
    assert not is_ours("192.0.2.1")
    assert not is_ours("2001:db8::1")
