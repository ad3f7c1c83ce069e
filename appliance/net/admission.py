"""How many connections clients may have: in all, and each. What is beyond is closed before it costs anything.

Near the bound, connections that only wait for a next request make room for clients who come with one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from twisted.logger import Logger

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

MOST = 10_000
"""The default bound is never above this, however many descriptors there are: memory ends too."""

RESERVED = 64
"""Descriptors for everything that is no connection of a client or to an application."""

_PREFIX = 64
"""Bits of an IPv6 address that tell clients apart: any of them has as many addresses as it likes below (RFC 6177)."""

_REMEMBERED = 1024
"""For so many addresses it is remembered whose they are: a browser comes with several connections."""

_LOG_SECONDS = 1.0
_SHED_SECONDS = 1.0


def default_connections(descriptors: int) -> int:
    """The bound for all connections where none is configured: each may need another one to an application."""
    return max(1, min(MOST, (descriptors - RESERVED) // 2))


def possible_connections(wanted: int, descriptors: int) -> int:
    """How many of the connections wanted there are descriptors for."""
    return max(1, min(wanted, descriptors - RESERVED))


def default_per_client(connections: int) -> int:
    """The bound for one client where none is configured: nobody can shut out everybody else."""
    return max(1, connections * 3 // 4)


class Admission:
    """Counts connections. ``exempt`` networks, proxies in front of us, are no clients: only the bound for all holds."""

    log = Logger()

    def __init__(
        self, seconds: Callable[[], float], connections: int, per_client: int, exempt: Sequence[Network] = ()
    ) -> None:
        """``seconds`` is a monotonic clock."""
        self.connections = connections
        """The bound for all."""
        self.per_client = per_client
        """The bound for each."""
        self.open = 0
        """How many there are."""
        self.refused = 0
        """How many were refused since the start."""
        self._seconds = seconds
        self._exempt = tuple(exempt)
        self._clients: dict[str, int] = {}
        self._client = lru_cache(_REMEMBERED)(self._identify)
        self._margin = connections // 16
        self._sheds: list[Callable[[int], int]] = []
        self._leaving = 0
        """How many were shed and have yet to leave."""
        self._shed_again = float("-inf")
        self._logged_at = float("-inf")
        self._unlogged = 0

    def apply(self, connections: int, per_client: int, exempt: Sequence[Network]) -> None:
        """Have other bounds. Nobody is sent away who is there."""
        self.connections, self.per_client = connections, per_client
        self._exempt = tuple(exempt)
        self._client.cache_clear()
        self._margin = connections // 16

    def add_shed(self, shed: Callable[[int], int]) -> None:
        """``shed(count)`` closes so many idle connections, the longest idle first, and returns how many there were."""
        self._sheds.append(shed)

    def admit(self, host: str) -> str | None:
        """Count one more connection from an IP address ("" for a UNIX socket) and return what `leave` is to be told.

        None if it must be refused.
        """
        client = self._client(host)
        if client and self._clients.get(client, 0) >= self.per_client:
            self._refuse(f"{client} has {self.per_client}, which is the most for one client")
            return None
        if self.open - self._leaving >= self.connections - self._margin:
            self._make_room()
        if self.open >= self.connections:
            self._refuse(f"there are {self.open}, which is the most")
            return None
        self.open += 1
        if client:
            self._clients[client] = self._clients.get(client, 0) + 1
        return client

    def leave(self, client: str) -> None:
        """A connection is gone; ``client`` is what `admit` returned for it."""
        self.open -= 1
        if self._leaving:
            self._leaving -= 1
        if client:
            left = self._clients[client] - 1
            if left:
                self._clients[client] = left
            else:
                del self._clients[client]

    def _identify(self, host: str) -> str:
        """Whose connections are counted together; "" for those that only count for the whole."""
        if not host:
            return ""
        address = canonical(host)
        if any(address in network for network in self._exempt):
            return ""
        if isinstance(address, IPv6Address):
            return str(IPv6Network((address, _PREFIX), strict=False))
        return str(address)

    def _make_room(self) -> None:
        """Have idle connections closed. Looking through all is worth it as long as it yields some."""
        now = self._seconds()
        if now < self._shed_again:
            return
        wanted = max(1, self._margin)
        for shed in self._sheds:
            before = self.open
            count = shed(wanted)
            self._leaving += max(0, count - (before - self.open))
            wanted -= count
            if wanted <= 0:
                return
        self._shed_again = now + _SHED_SECONDS

    def _refuse(self, why: str) -> None:
        """At most a line a second: refusing must stay cheap."""
        self.refused += 1
        now = self._seconds()
        if now - self._logged_at < _LOG_SECONDS:
            self._unlogged += 1
            return
        unlogged, self._unlogged, self._logged_at = self._unlogged, 0, now
        self.log.warn(
            "Connection refused: {why}{more}",
            why=why,
            more=f" (and {unlogged} more refused since the last such line)" if unlogged else "",
            refused=self.refused,
        )


def canonical(host: str) -> Address:
    """The address without a zone; an IPv4 one that came through an IPv6 socket as what it is."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
