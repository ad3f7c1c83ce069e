"""What a site or a route asks of the requests it gets, and how it answers those that no application is for."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

Lines = tuple[tuple[str, str], ...]
"""Header fields: name and value."""


@frozen
class HeaderEdits:
    """What is done to header fields: first those of ``remove`` and ``set`` go, then ``set`` and ``add`` are put in."""

    set: Lines = ()
    add: Lines = ()
    remove: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The fields that this is about, in lower case."""
        return frozenset(name.lower() for name in (*self.remove, *(name for name, _ in (*self.set, *self.add))))


@frozen
class Hsts:
    """Strict-Transport-Security (RFC 6797)."""

    max_age: int = 365 * 24 * 3600
    """Seconds."""
    include_subdomains: bool = False
    preload: bool = False

    def __str__(self) -> str:
        more = "; includeSubDomains" if self.include_subdomains else ""
        return f"max-age={self.max_age}{more}{'; preload' if self.preload else ''}"


@frozen
class Redirect:
    """Somewhere else."""

    to: str
    """``https://…`` or ``/…``, in which ``{path}`` stands for path and query, ``{host}`` for the name asked for."""
    status: int = 308


@frozen
class Respond:
    """The same answer for everybody."""

    status: int = 200
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


@frozen
class RateLimit:
    """How many requests one client may send: an IPv4 address, or an IPv6 /64."""

    requests: int
    per: float = 1.0
    """Seconds."""
    burst: int | None = None
    """So many may come at once; None: ``requests``."""


@frozen
class BasicAuth:
    """Who may come in (RFC 7617)."""

    users: Lines = field(repr=False)
    """Names, and hashes of passwords; see `passwords`."""
    realm: str = "Restricted"
    forward_authorization: bool = False
    """Whether the application gets to see the credentials."""


@frozen
class Rules:
    """What holds for all requests of a site, or of a route beside what holds for its site."""

    allow: tuple[str, ...] = ()
    """CIDR networks that clients must be in, if there are any."""
    deny: tuple[str, ...] = ()
    """CIDR networks that they must not be in."""
    rate_limit: RateLimit | None = None
    basic_auth: BasicAuth | Literal[False] | None = None
    """For a route, None is as the site has it, and False is nothing of the kind."""
    request_headers: HeaderEdits | None = None
    response_headers: HeaderEdits | None = None
    compress: bool | None = None
    """Whether responses are compressed; for a route, None is as the site has it."""
