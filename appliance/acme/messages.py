"""What an ACME server says, as values (RFC 8555 section 7.1): strict where it counts, deaf to what is unknown.

Every ``from_json`` takes decoded JSON and raises AcmeProtocolError, naming the object and the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import field, frozen

from appliance.errors import AcmeProtocolError, Problem

MAX_DETAIL = 1000
"""Characters kept of a CA's own words: they end up in logs and on terminals."""
MAX_LIST = 1000
"""Entries accepted in any list; CAs allow a hundred names in an order."""
MAX_NESTING = 2
"""Subproblems of subproblems are dropped below this depth (RFC 8555 section 6.7.1 has one level)."""
MAX_RETRY_AFTER = 366 * 86400.0

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
"""base64url without padding: the only alphabet a token may have (RFC 8555 section 8.1)."""
TOKEN_CHALLENGES = frozenset({"http-01", "dns-01", "tls-alpn-01"})

ORDER_STATUSES = frozenset({"pending", "ready", "processing", "valid", "invalid"})
AUTHORIZATION_STATUSES = frozenset({"pending", "valid", "invalid", "deactivated", "expired", "revoked"})
CHALLENGE_STATUSES = frozenset({"pending", "processing", "valid", "invalid"})
ACCOUNT_STATUSES = frozenset({"valid", "deactivated", "revoked"})


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds of a ``Retry-After`` header (RFC 9110 section 10.2.3), never negative; None if absent or nonsense.

    ``now`` is aware; it matters only for the HTTP-date form.
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,10}", value):
        return min(float(value), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


@frozen
class Identifier:
    """What a certificate is for (RFC 8555 section 9.7.7, RFC 8738). Compared as sets: CAs sort and lower-case."""

    type: str
    """``dns`` or ``ip``."""
    value: str
    """Lower-case; an IP address in its canonical form."""

    @classmethod
    def of(cls, name: str) -> Identifier:
        """The identifier for a configured name: an IP address literal, or a DNS name, wildcards included."""
        try:
            return cls("ip", str(ip_address(name)))
        except ValueError:
            return cls("dns", name.lower())

    @classmethod
    def from_json(cls, data: object) -> Identifier:
        """Parse ``{"type": …, "value": …}``."""
        fields = _Fields(data, "identifier")
        value = fields.text("value").lower()
        return cls(fields.text("type"), value)

    def to_json(self) -> dict[str, str]:
        """As sent in ``newOrder``."""
        return {"type": self.type, "value": self.value}


@frozen
class Directory:
    """Where the CA's resources are (RFC 8555 section 7.1.1)."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_certificate: str | None = None
    key_change: str | None = None
    renewal_info: str | None = None
    """RFC 9773; None when the CA has no ARI."""
    terms_of_service: str | None = None
    external_account_required: bool = False
    profiles: Mapping[str, str] = field(factory=dict)
    """Name to description, of CAs that offer profiles."""

    @classmethod
    def from_json(cls, data: object) -> Directory:
        """Parse a directory; only what every issuance needs is required."""
        fields = _Fields(data, "directory")
        meta = _Fields(fields.data.get("meta", {}), "directory meta")
        profiles = meta.data.get("profiles")
        return cls(
            new_nonce=fields.url("newNonce"),
            new_account=fields.url("newAccount"),
            new_order=fields.url("newOrder"),
            revoke_certificate=fields.optional_url("revokeCert"),
            key_change=fields.optional_url("keyChange"),
            renewal_info=fields.optional_url("renewalInfo"),
            terms_of_service=meta.optional_text("termsOfService"),
            external_account_required=meta.data.get("externalAccountRequired") is True,
            profiles=_texts(profiles) if isinstance(profiles, dict) else {},
        )


@frozen
class Account:
    """An account as the CA describes it (RFC 8555 section 7.1.2)."""

    status: str
    contact: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: object) -> Account:
        """Parse an account object; some CAs leave contacts out."""
        fields = _Fields(data, "account")
        contact = fields.data.get("contact")
        known = tuple(item for item in contact if isinstance(item, str)) if isinstance(contact, list) else ()
        return cls(fields.status(ACCOUNT_STATUSES), known)


@frozen
class Challenge:
    """One way to prove control of a name (RFC 8555 section 8)."""

    type: str
    url: str
    status: str
    token: str
    error: Problem | None = None

    @classmethod
    def from_json(cls, data: object) -> Challenge | None:
        """Parse a challenge; None for an unknown type that cannot be used (``dns-persist-01`` has no token)."""
        fields = _Fields(data, "challenge")
        kind = fields.text("type")
        token = fields.data.get("token")
        if not (isinstance(token, str) and TOKEN.match(token)):
            if kind in TOKEN_CHALLENGES:
                raise AcmeProtocolError(f"the CA's {kind} challenge has a token that is not base64url")
            return None
        if kind not in TOKEN_CHALLENGES and fields.data.get("status") not in CHALLENGE_STATUSES:
            return None
        return cls(kind, fields.url("url"), fields.status(CHALLENGE_STATUSES), token, _optional_problem(fields.data))


@frozen
class Authorization:
    """The CA's state of mind about one name (RFC 8555 section 7.1.4)."""

    identifier: Identifier
    status: str
    challenges: tuple[Challenge, ...]
    wildcard: bool = False
    """The order asked for ``*.`` of the identifier."""

    @classmethod
    def from_json(cls, data: object) -> Authorization:
        """Parse an authorization; challenges of unknown kinds are left out."""
        fields = _Fields(data, "authorization")
        challenges = [Challenge.from_json(item) for item in fields.list("challenges")]
        return cls(
            identifier=Identifier.from_json(fields.data.get("identifier")),
            status=fields.status(AUTHORIZATION_STATUSES),
            challenges=tuple(challenge for challenge in challenges if challenge is not None),
            wildcard=fields.data.get("wildcard") is True,
        )

    @property
    def name(self) -> str:
        """The name as the order had it: with ``*.`` for a wildcard."""
        return f"*.{self.identifier.value}" if self.wildcard else self.identifier.value

    @property
    def error(self) -> Problem | None:
        """Why it failed: the problem of the challenge that was tried."""
        return next((challenge.error for challenge in self.challenges if challenge.error is not None), None)


@frozen
class Order:
    """A request for one certificate (RFC 8555 section 7.1.3)."""

    status: str
    identifiers: frozenset[Identifier]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None = None
    error: Problem | None = None

    @classmethod
    def from_json(cls, data: object) -> Order:
        """Parse an order; a valid one must say where its certificate is."""
        fields = _Fields(data, "order")
        status = fields.status(ORDER_STATUSES)
        order = cls(
            status=status,
            identifiers=frozenset(Identifier.from_json(item) for item in fields.list("identifiers")),
            authorizations=tuple(usable_url(item, "order", "authorizations") for item in fields.list("authorizations")),
            finalize=fields.url("finalize"),
            certificate=fields.optional_url("certificate"),
            error=_optional_problem(fields.data),
        )
        if status == "valid" and order.certificate is None:
            raise AcmeProtocolError("the CA's order is valid but names no certificate")
        return order

    def check_identifiers(self, wanted: Iterable[Identifier]) -> None:
        """Refuse an order for other names than were asked for. Raises AcmeProtocolError."""
        if self.identifiers != frozenset(wanted):
            names = ", ".join(sorted(identifier.value for identifier in self.identifiers))
            raise AcmeProtocolError(f"the CA's order is for other names than were asked for: {names}")


def problem_from_json(data: object, status: int = 0, retry_after: float | None = None, depth: int = 0) -> Problem:
    """Parse a problem document (RFC 7807); a missing type is ``about:blank``, a missing detail is said so."""
    fields = _Fields(data, "problem document")
    kind, detail = fields.data.get("type"), fields.data.get("detail")
    subproblems = fields.data.get("subproblems")
    return Problem(
        type=_printable(kind) if isinstance(kind, str) else "about:blank",
        detail=_printable(detail) if isinstance(detail, str) and detail else "(the CA gave no detail)",
        status=status,
        retry_after=retry_after,
        identifier=_problem_identifier(fields.data.get("identifier")),
        subproblems=tuple(
            problem_from_json(item, depth=depth + 1) for item in subproblems[:MAX_LIST] if isinstance(item, dict)
        )
        if isinstance(subproblems, list) and depth < MAX_NESTING
        else (),
    )


def _problem_identifier(data: object) -> str | None:
    value = data.get("value") if isinstance(data, dict) else None
    return _printable(value).lower() if isinstance(value, str) else None


def _optional_problem(data: Mapping[str, object]) -> Problem | None:
    error = data.get("error")
    return problem_from_json(error) if isinstance(error, dict) else None


def _printable(text: str) -> str:
    """One bounded line: a CA's words must not forge log lines or move a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in text[:MAX_DETAIL])


def _texts(data: Mapping[object, object]) -> dict[str, str]:
    return {key: value for key, value in data.items() if isinstance(key, str) and isinstance(value, str)}


def usable_url(value: object, what: str, name: str) -> str:
    """An http or https URL of printable ASCII, as it is. Raises AcmeProtocolError naming ``what`` and the field."""
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{1,2048}", value):
        raise AcmeProtocolError(f"the CA's {what} has no usable URL in {name!r}")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise AcmeProtocolError(f"the CA's {what} has no usable URL in {name!r}")
    return value


class _Fields:
    """A JSON object with checked access to its fields; ``what`` names it in errors."""

    __slots__ = ("data", "what")

    def __init__(self, data: object, what: str) -> None:
        if not isinstance(data, dict):
            raise AcmeProtocolError(f"the CA's {what} is not a JSON object")
        self.data: Mapping[str, object] = data
        self.what = what

    def text(self, name: str) -> str:
        value = self.data.get(name)
        if not isinstance(value, str) or not value:
            raise AcmeProtocolError(f"the CA's {self.what} has no text in {name!r}")
        return value

    def optional_text(self, name: str) -> str | None:
        value = self.data.get(name)
        return value if isinstance(value, str) and value else None

    def url(self, name: str) -> str:
        return usable_url(self.data.get(name), self.what, name)

    def optional_url(self, name: str) -> str | None:
        return None if self.data.get(name) in (None, "") else self.url(name)

    def list(self, name: str) -> list[object]:
        value = self.data.get(name)
        if not isinstance(value, list) or len(value) > MAX_LIST:
            raise AcmeProtocolError(f"the CA's {self.what} has no usable list in {name!r}")
        return value

    def status(self, allowed: frozenset[str]) -> str:
        value = self.text("status")
        if value not in allowed:
            raise AcmeProtocolError(f"the CA's {self.what} has the unknown status {_printable(value)[:40]!r}")
        return value
