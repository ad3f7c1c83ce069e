"""A name's addresses in the DNS, and this machine's own: for ``pointing``."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.names.client import Resolver
from twisted.names.error import DNSNameError

# Addresses for documentation: nothing is ever sent there, the kernel only says which of ours it would use.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


class Lookup:
    """Asks the name servers of ``/etc/resolv.conf`` themselves: no cache, no hosts file, no thread."""

    def __init__(self, reactor: Any, resolver: Any = None) -> None:
        """``resolver``, an IResolver, takes the place of those name servers."""
        self._reactor = reactor
        self._resolver = resolver

    def __call__(self, name: str) -> Deferred[frozenset[str]]:
        """Its A and AAAA records; empty if it has none.

        Fails if one of the questions was not answered: half of a name's addresses would look like a change.
        """
        if self._resolver is None:  # not sooner: it looks at the file every minute from then on
            self._resolver = Resolver(resolv="/etc/resolv.conf", reactor=self._reactor)
        asked = [self._resolver.lookupAddress(name), self._resolver.lookupIPV6Address(name)]
        return DeferredList(asked, consumeErrors=True).addCallback(_addresses)


def _addresses(results: Any) -> frozenset[str]:
    for succeeded, answer in results:
        if not succeeded and not answer.check(DNSNameError):
            answer.raiseException()
    records = [record.payload for succeeded, answer in results if succeeded for record in answer[0]]
    found = []
    for record in records:
        if hasattr(record, "dottedQuad"):
            found.append(record.dottedQuad())
        elif len(getattr(record, "address", b"")) == 16:
            found.append(socket.inet_ntop(socket.AF_INET6, record.address))
    return frozenset(found)


def own_addresses() -> frozenset[str]:
    """The addresses that this machine speaks to the world from, as far as it knows; behind a router, private ones."""
    found = set()
    for family, elsewhere in _ELSEWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            found.add(probe.getsockname()[0])
    return frozenset(found)
