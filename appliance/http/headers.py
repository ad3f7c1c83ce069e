"""Which header fields concern one connection only, whom a request is for, and what is told of its origin.

RFC 9110 sections 7.2 (Host), 7.6.1 (Connection), 7.6.3 (Via); RFC 7239 (Forwarded).
"""

from __future__ import annotations

import re
from functools import lru_cache

from appliance.errors import RequestError
from appliance.http.message import Fields

METHODS = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND"
    b" UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK"
    b" UNLINK QUERY".split()
)
"""The methods that are served (llhttp knows the same): others are answered 501."""

FORWARDING = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
    }
)
"""Fields that only the appliance, or a proxy it trusts, may set."""

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
    }
)

# "Proxy" would become HTTP_PROXY in a CGI-like environment and steer the application's own requests.
REQUEST_NOT_FORWARDED = _HOP_BY_HOP | FORWARDING | {b"host", b"expect", b"proxy", b"http2-settings", b"x-real-ip"}
RESPONSE_NOT_FORWARDED = _HOP_BY_HOP

_NEVER_TRAILERS = REQUEST_NOT_FORWARDED | frozenset(
    b"age authorization cache-control content-encoding content-location content-range content-type cookie date expires"
    b" if-match if-modified-since if-none-match if-range if-unmodified-since location max-forwards origin pragma"
    b" proxy-authentication-info range retry-after set-cookie vary www-authenticate".split()
)
"""Fields that decide how a message is framed, routed, authorised or handled: known too late, they mislead (RFC 9110
section 6.5.1)."""

_TOKEN_LIST = re.compile(rb"[\t ,]*+(?:[!#$%&'*+\-.^_`|~0-9a-z]++[\t ,]*+)*+")
_AUTHORITY = re.compile(rb"([A-Za-z0-9_.\-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_PLAIN_VALUE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def is_token_list(value: bytes) -> bool:
    """Whether a lower-case ``Connection`` value is a list of tokens."""
    return _TOKEN_LIST.fullmatch(value) is not None


def nominated(value: bytes) -> frozenset[bytes]:
    """The names in a lower-case ``Connection`` value."""
    return frozenset(name for part in value.split(b",") if (name := part.strip(b" \t")))


def without(fields: Fields, names: frozenset[bytes]) -> Fields:
    """The fields whose lower-case name is not among ``names``."""
    return [field for field in fields if field[0].lower() not in names]


def forwardable_trailers(fields: Fields) -> Fields:
    """Those of a trailer section, names in lower case, that a next recipient may be told."""
    return [field for field in fields if field[0] not in _NEVER_TRAILERS and b"_" not in field[0]]


@lru_cache(maxsize=1024)
def split_authority(authority: bytes) -> bytes:
    """The host of ``host[:port]``, in lower case and without a final dot; raises RequestError if malformed."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (match[2] is not None and int(match[2]) > 65535):
        raise RequestError(400, "malformed Host")
    host: bytes = match[1].lower().removesuffix(b".")
    if not host:
        raise RequestError(400, "malformed Host")
    return host


def _quoted(value: bytes) -> bytes:
    return value if _PLAIN_VALUE.fullmatch(value) else b'"%b"' % value


def origin_fields(client: str, scheme: bytes, authority: bytes, port: int, before: Fields = []) -> bytes:  # noqa: B006
    """The lines that tell an application where a request came from.

    ``client`` is the peer's address, empty if it has none (a UNIX socket); ``before`` are the forwarding fields (names
    in lower case) of a trusted proxy, which are continued; without them the client's word counts for nothing.
    """
    address = client.encode("ascii")
    node = (b'"[%b]"' % address if b":" in address else address) or b"unknown"
    element = b"for=%b;host=%b;proto=%b" % (node, _quoted(authority), scheme)
    told = {name: value for name, value in before if value}
    chain = [value for name, value in before if name == b"x-forwarded-for" and value]
    elements = [value for name, value in before if name == b"forwarded" and value]
    return (
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nX-Forwarded-Port: %b\r\n"
        b"Forwarded: %b\r\nVia: 1.1 appliance\r\n"
    ) % (
        b", ".join([*chain, address or b"unknown"]),
        told.get(b"x-forwarded-proto", scheme),
        told.get(b"x-forwarded-host", authority),
        told.get(b"x-forwarded-port", b"%d" % port),
        b", ".join([*elements, element]),
    )
