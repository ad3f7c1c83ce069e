"""Questions to the DNS, by dnspython: they block, for seconds at most, so they are asked in threads."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from enum import Enum
from ipaddress import ip_address
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
from attrs import frozen

from appliance.config.dns import DNS_PORT, NameServer
from appliance.errors import ResponderError

TIMEOUT = 5.0
"""Seconds for one answer; a resolver, which may have to ask others and is asked again, gets three times that."""
LONGEST_CHAIN = 8
"""CNAMEs that are followed."""
MOST_SERVERS = 13
"""Name servers of a zone that are asked; more than that is no zone's, but somebody's prank."""


@frozen
class AuthoritativeServer:
    """One address of one of a zone's name servers."""

    name: str
    address: NameServer

    def __str__(self) -> str:
        return f"{self.name} ({self.address})" if self.name != str(self.address) else self.name


class Sight(Enum):
    """What one server says about one record."""

    THERE = "has it"
    MISSING = "does not have it"
    SILENT = "does not answer"
    """Or answers something that says nothing about the record."""


@frozen
class Sighting:
    """What one server said, and how."""

    server: str
    sight: Sight
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.server} {self.sight.value}{f' ({self.detail})' if self.detail else ''}"


class Lookup:
    """Asks a resolver for the way to a record, and servers for the record itself. Raises `ResponderError`."""

    def __init__(self, resolvers: Sequence[NameServer] = (), port: int = DNS_PORT, timeout: float = TIMEOUT) -> None:
        """``resolvers``: those of the system, if there are none. ``port``: where authoritative servers listen."""
        self._timeout = timeout
        self._port = port
        self._resolvers = tuple(resolvers)

    def follow(self, name: str) -> str:
        """
        Where CNAMEs at ``name`` lead; ``name`` itself, if there are none, or none but a wildcard's.

        A wildcard leads where its owner wants visitors. It stands for ``name`` only until there is a record.
        """
        chain = [name]
        while len(chain) <= LONGEST_CHAIN:
            target = self._target(chain[-1])
            if target is None or (chain == [name] and self._is_a_wildcards(name, target)):
                return chain[-1]
            chain.append(target)
            if target in chain[:-1]:
                raise ResponderError(f"the CNAME records lead in a circle: {' -> '.join(chain)}")
        raise ResponderError(f"more than {LONGEST_CHAIN} CNAME records in a row: {' -> '.join(chain)}")

    def authoritative_servers(self, name: str) -> list[AuthoritativeServer]:
        """All name servers of the zone that ``name`` is in, by all their addresses."""
        zone = self.zone(name)
        names = sorted(_text(each.target) for each in self._resolve(zone, dns.rdatatype.NS))[:MOST_SERVERS]
        servers = [
            AuthoritativeServer(each, NameServer(address, self._port))
            for each in names
            for address in self.addresses(each)
        ]
        if not servers:
            raise ResponderError(
                f"no name server of the zone {zone} has an address ({', '.join(names) or 'no NS record'})"
            )
        return servers

    def zone(self, name: str) -> str:
        """The zone that ``name`` is in."""
        try:
            return _text(dns.resolver.zone_for_name(name, resolver=self._resolver(), lifetime=3 * self._timeout))
        except dns.exception.DNSException as error:
            raise ResponderError(f"{self._who()} cannot tell the zone that {name} is in: {_words(error)}") from error

    def addresses(self, name: str) -> list[str]:
        """The IPv4 and IPv6 addresses of a host; none if it has none, or none can be found."""
        found = []
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                found += [each.address for each in self._resolve(name, kind)]
            except ResponderError:
                continue  # of one server, or of one kind: the others will do
        return found

    def look(self, server: AuthoritativeServer, name: str, value: str, recursive: bool = False) -> Sighting:
        """Whether a server has the TXT record. ``recursive``: it may ask others. Never raises."""
        query = dns.message.make_query(name, dns.rdatatype.TXT, flags=dns.flags.RD if recursive else 0)
        address = server.address
        try:
            answer, _ = dns.query.udp_with_fallback(
                query, address.host, self._timeout, address.port, ignore_unexpected=True
            )
        except (dns.exception.DNSException, OSError) as error:
            return Sighting(str(server), Sight.SILENT, _words(error))
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Sighting(str(server), Sight.SILENT, dns.rcode.to_text(answer.rcode()))
        wanted = value.encode("ascii")
        for rrset in answer.answer:
            if rrset.rdtype == dns.rdatatype.TXT and any(b"".join(each.strings) == wanted for each in rrset):
                return Sighting(str(server), Sight.THERE)
        return Sighting(str(server), Sight.MISSING)

    def _is_a_wildcards(self, name: str, target: str) -> bool:
        """Whether the CNAME at ``name`` is a wildcard's, and a record may take its place.

        Not if the domain itself is there by that wildcard alone: with a record below, it would be there no more
        (RFC 4592 section 2.2.2).
        """
        domain = name.partition(".")[2]
        return self._target(_made_up_beside(name)) == target != self._target(domain)

    def _target(self, name: str) -> str | None:
        """Of the CNAME at ``name``."""
        answer = self._resolve(name, dns.rdatatype.CNAME)
        return _text(answer[0].target) if answer else None

    def _resolve(self, name: str, kind: dns.rdatatype.RdataType) -> list[Any]:
        try:
            answer = self._resolver().resolve(
                dns.name.from_text(name), kind, raise_on_no_answer=False, lifetime=3 * self._timeout
            )
        except dns.resolver.NXDOMAIN:
            return []
        except dns.exception.DNSException as error:
            asked = f"{dns.rdatatype.to_text(kind)} record of {name}"
            raise ResponderError(f"{self._who()} does not tell the {asked}: {_words(error)}") from error
        return list(answer.rrset or ())

    def _resolver(self) -> dns.resolver.Resolver:
        try:
            resolver = dns.resolver.Resolver(configure=not self._resolvers)
        except dns.resolver.NoResolverConfiguration as error:
            raise ResponderError("this machine has no resolver: set resolvers, or see to /etc/resolv.conf") from error
        if self._resolvers:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(each.host, each.port) for each in self._resolvers]
        return resolver

    def _who(self) -> str:
        return f"the resolver {', '.join(map(str, self._resolvers)) or 'of this machine'}"


def checked_at(servers: Sequence[NameServer]) -> list[AuthoritativeServer]:
    """Servers by their addresses alone."""
    return [AuthoritativeServer(str(each), each) for each in servers]


def _made_up_beside(name: str) -> str:
    """A name that only a wildcard answers for, if that would also answer for ``name``."""
    return f"_appliance-{secrets.token_hex(8)}.{name.partition('.')[2]}"


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _words(error: Exception) -> str:
    """An error of dnspython's or the system's, in words; some of dnspython's say nothing but their name."""
    if isinstance(error, dns.exception.Timeout):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__


def is_address(text: str) -> bool:
    """Whether ``text`` is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
