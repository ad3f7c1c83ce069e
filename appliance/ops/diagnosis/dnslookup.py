"""What DNS says of a name, asked as a CA asks; and whether an address is this machine's."""

from __future__ import annotations

import ipaddress
import socket

from dns import exception as dns_error
from dns.rdatatype import RdataType
from dns.resolver import NXDOMAIN, NoAnswer, NoNameservers, NoResolverConfiguration, Resolver

PATIENCE = 5.0
"""Seconds for one question."""


def make_resolver(address: str | None, system: str = "/etc/resolv.conf") -> Resolver:
    """The system's resolver, or one at ``HOST``, ``HOST:PORT`` or ``[HOST]:PORT``. Raises ValueError."""
    if address is None:
        try:
            resolver = Resolver(system)
        except NoResolverConfiguration as error:
            raise ValueError(f"is needed, as {system} names no DNS server: name one by --resolver HOST") from error
    else:
        host, _, port = address.rpartition(":") if _has_port(address) else (address, "", "53")
        resolver = Resolver(configure=False)
        resolver.nameservers = [str(ipaddress.ip_address(host.strip("[]")))]
        resolver.port = int(port)
    resolver.lifetime = PATIENCE
    return resolver


def _has_port(address: str) -> bool:
    return address.count(":") == 1 or "]:" in address


class DnsError(Exception):
    """What is wrong with a name in DNS, and what to do: ``advice``."""

    def __init__(self, words: str, advice: str) -> None:
        self.advice = advice
        super().__init__(words)


def resolve(resolver: Resolver, name: str) -> list[str]:
    """The addresses of a name, IPv6 first as CAs have it. Raises DnsError."""
    if is_address(name):
        return [name]
    base = name.removeprefix("*.")
    found: list[str] = []
    for kind in ("AAAA", "A"):
        try:
            found += [record.to_text() for record in resolver.resolve(base, kind, raise_on_no_answer=False)]
        except NXDOMAIN:
            raise DnsError(
                f"{base} does not exist in DNS", f"Add an A or AAAA record for {base} at its DNS host."
            ) from None
        except (NoNameservers, dns_error.Timeout) as error:
            raise DnsError(
                f"{base}: asking for {kind} failed: {error}",
                "See whether the domain's name servers answer and its DNSSEC is whole; a CA asks them too.",
            ) from None
    if not found:
        raise DnsError(f"{base} has neither an A nor an AAAA record", f"Add one for {base} that leads to this machine.")
    return found


def is_ours(address: str) -> bool:
    """Whether an address is this machine's: packets to it would leave with it as their source."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # of UDP: nothing is sent
            source: str = probe.getsockname()[0]
            return ipaddress.ip_address(source.partition("%")[0]) == ipaddress.ip_address(address)
    except OSError:
        return False


def caa(resolver: Resolver, name: str) -> tuple[list[tuple[str, str]], str]:
    """The CAA records that count, tags and values, and whose: the nearest name upwards that has any (RFC 8659).

    Raises NoNameservers, Timeout.
    """
    while name:
        try:
            answer = resolver.resolve(name, RdataType.CAA, raise_on_no_answer=False)
            records = [(record.tag.decode().lower(), record.value.decode()) for record in answer]
            if records:
                return records, name
        except (NXDOMAIN, NoAnswer):
            pass
        name = name.partition(".")[2]
    return [], ""


def is_address(name: str) -> bool:
    """Whether it is an IP address rather than a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
