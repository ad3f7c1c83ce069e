"""How TXT records for DNS-01 get into the DNS: the part of the configuration below ``acme.dns`` and ``site.dns``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from attrs import field, frozen

DNS_PORT = 53

Options: TypeAlias = Mapping[str, str | int | float | bool]
"""What is passed on to somebody else's code as it is."""


@frozen
class NameServer:
    """A DNS server."""

    host: str
    """An IP address, or, where it is said so, a host name."""
    port: int = DNS_PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DNS_PORT else f"{host}:{self.port}"


@frozen
class TsigKey:
    """The key that signs dynamic updates (RFC 8945)."""

    name: str
    secret: str = field(repr=False)
    """base64, as BIND's ``tsig-keygen`` prints it."""
    algorithm: str = "hmac-sha256"


@frozen
class DynamicUpdate:
    """RFC 2136."""

    server: NameServer
    """The zone's primary; its host may be a name."""
    key: TsigKey | None = None
    zone: str | None = None
    """None asks the server which of its zones the record belongs to."""


@frozen
class Lexicon:
    """A DNS service that dns-lexicon knows."""

    name: str
    """As lexicon calls it."""
    options: Options = field(factory=dict, repr=False)
    """As lexicon calls them; what is missing comes from the environment, ``LEXICON_NAME_OPTION``."""


@frozen
class DnsHook:
    """The operator's own program."""

    command: tuple[str, ...]
    timeout: float = 60.0
    """Seconds for one run."""


@frozen
class CustomResponder:
    """A txacme ``IResponder``."""

    factory: str
    """``package.module:callable``."""
    options: Options = field(factory=dict, repr=False)
    """The callable's keyword arguments."""


@frozen
class Dns:
    """One way to publish records, and how to see that it has worked."""

    provider: DynamicUpdate | Lexicon | DnsHook | CustomResponder
    resolvers: tuple[NameServer, ...] = ()
    """By address: who is asked for CNAMEs and name servers; empty for those of the system."""
    nameservers: tuple[NameServer, ...] = ()
    """By address: where records are looked for; empty for the authoritative servers of the record's zone."""
    propagation_timeout: float = 120.0
    """Seconds until a record must be seen on all of them."""
