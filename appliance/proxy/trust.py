"""Whom a request is from: the peer of its connection, or, behind proxies that are trusted, whom these name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from appliance.http.message import Fields

Network = IPv4Network | IPv6Network

_MOST_PROXIES = 16
"""So many of a chain are looked at."""


class TrustedProxies:
    """Peers whose forwarding headers are believed. ``networks`` may be replaced at any time."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self.networks = tuple(networks)

    def __contains__(self, address: str) -> bool:
        """Whether an address (empty for a UNIX socket's peer) is trusted."""
        return bool(self.networks) and bool(address) and within(ip_address(address), self.networks)

    def client(self, peer: str, forwarding: Fields) -> str:
        """The address of the client behind ``peer``; empty if it cannot be known.

        ``X-Forwarded-For`` is read from its end, where the proxy next to us wrote, for as long as that is one of ours.
        """
        if not forwarding or peer not in self:
            return peer
        value = b",".join(value for name, value in forwarding if name == b"x-forwarded-for")
        client = peer
        for element in reversed(value.split(b",")[-_MOST_PROXIES:] if value else ()):
            client = address_in(element.strip())
            if client not in self:
                break
        return client


def within(address: object, networks: Iterable[Network]) -> bool:
    """Whether an address is in any of these."""
    return any(address in network for network in networks)


def address_in(element: bytes) -> str:
    """The address in an element of ``X-Forwarded-For``, which some write with a port; empty if there is none."""
    text = element.decode("latin-1")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


@lru_cache(4096)
def household(address: str) -> str:
    """What stands for one client: an IPv4 address, or the /64 that an IPv6 client has all addresses of."""
    if ":" not in address:
        return address
    return f"{int(IPv6Address(address)) >> 64:x}/64"
