"""What the demo CA knows: frozen records, and the state tables of RFC 8555 section 7.1.6 that they obey."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Self, TypeVar

from attrs import evolve, field, frozen
from cryptography import x509
from josepy.jwk import JWK

from appliance.ca.problems import refusal
from appliance.errors import Problem


class AccountStatus(StrEnum):
    """RFC 8555 section 7.1.2."""

    VALID = "valid"
    DEACTIVATED = "deactivated"
    REVOKED = "revoked"


class OrderStatus(StrEnum):
    """RFC 8555 section 7.1.3."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


class AuthorizationStatus(StrEnum):
    """RFC 8555 section 7.1.4."""

    PENDING = "pending"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ChallengeStatus(StrEnum):
    """RFC 8555 section 8."""

    PENDING = "pending"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


ACCOUNT: Mapping[AccountStatus, frozenset[AccountStatus]] = {
    AccountStatus.VALID: frozenset({AccountStatus.DEACTIVATED, AccountStatus.REVOKED}),
    AccountStatus.DEACTIVATED: frozenset(),
    AccountStatus.REVOKED: frozenset(),
}
ORDER: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.READY, OrderStatus.INVALID}),
    OrderStatus.READY: frozenset({OrderStatus.PROCESSING, OrderStatus.INVALID}),
    OrderStatus.PROCESSING: frozenset({OrderStatus.VALID, OrderStatus.INVALID}),
    OrderStatus.VALID: frozenset(),
    OrderStatus.INVALID: frozenset(),
}
AUTHORIZATION: Mapping[AuthorizationStatus, frozenset[AuthorizationStatus]] = {
    AuthorizationStatus.PENDING: frozenset(
        {AuthorizationStatus.VALID, AuthorizationStatus.INVALID, AuthorizationStatus.DEACTIVATED}
    ),
    AuthorizationStatus.VALID: frozenset(
        {AuthorizationStatus.EXPIRED, AuthorizationStatus.DEACTIVATED, AuthorizationStatus.REVOKED}
    ),
    AuthorizationStatus.INVALID: frozenset(),
    AuthorizationStatus.DEACTIVATED: frozenset(),
    AuthorizationStatus.EXPIRED: frozenset(),
    AuthorizationStatus.REVOKED: frozenset(),
}
CHALLENGE: Mapping[ChallengeStatus, frozenset[ChallengeStatus]] = {
    ChallengeStatus.PENDING: frozenset({ChallengeStatus.PROCESSING}),
    ChallengeStatus.PROCESSING: frozenset({ChallengeStatus.VALID, ChallengeStatus.INVALID}),
    ChallengeStatus.VALID: frozenset(),
    ChallengeStatus.INVALID: frozenset(),
}


class IllegalTransitionError(RuntimeError):
    """A step that the state table does not have: a mistake in the CA, never in a request."""


_Status = TypeVar("_Status", bound=StrEnum)


def _step(table: Mapping[_Status, frozenset[_Status]], old: _Status, new: _Status) -> _Status:
    if new not in table[old]:
        raise IllegalTransitionError(f"{type(old).__name__}: {old} -> {new}")
    return new


_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@frozen(order=True)
class Identifier:
    """A name that a certificate may carry: ``type`` is ``dns`` or ``ip`` (RFC 8738); a wildcard keeps its ``*.``."""

    type: str
    value: str

    @classmethod
    def parse(cls, type: object, value: object) -> Self:
        """The identifier in its one spelling (lower-case, compressed); refuses whatever is not a host name."""
        if not isinstance(type, str) or not isinstance(value, str):
            raise refusal("malformed", "an identifier has a type and a value, both strings")
        if type == "ip":
            try:
                return cls("ip", str(ipaddress.ip_address(value)))
            except ValueError:
                raise refusal("malformed", f"{value[:60]!r} is no IP address") from None
        if type != "dns":
            raise refusal("unsupportedIdentifier", f"identifiers of the type {type[:60]!r} are not certified here")
        name = value.lower()
        labels = name.removeprefix("*.").split(".")
        if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
            raise refusal("malformed", f"{value[:60]!r} is no DNS name (A-labels, no dot at its end)")
        return cls("dns", name)

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every name one label below."""
        return self.value.startswith("*.")

    @property
    def base(self) -> Identifier:
        """What an authorization is for: the name without ``*.`` (RFC 8555 section 7.1.4)."""
        return evolve(self, value=self.value.removeprefix("*."))

    def as_json(self) -> dict[str, str]:
        """The identifier object."""
        return {"type": self.type, "value": self.value}


@frozen
class Account:
    """RFC 8555 section 7.1.2."""

    id: int
    key: JWK = field(repr=False)
    thumbprint: bytes = field(repr=False)
    """SHA-256 of the key (RFC 7638): what accounts are found by and what key authorizations end in."""
    contact: tuple[str, ...] = ()
    status: AccountStatus = AccountStatus.VALID
    terms_agreed: bool = False
    external_account: str | None = None
    """The key identifier of the external account that vouched for it."""

    def to(self, status: AccountStatus) -> Account:
        """The account after a lawful step."""
        return evolve(self, status=_step(ACCOUNT, self.status, status))


@frozen
class Challenge:
    """RFC 8555 section 8; ``token`` is 128 random bits, base64url."""

    type: str
    token: str
    status: ChallengeStatus = ChallengeStatus.PENDING
    validated: datetime | None = None
    error: Problem | None = None

    def to(self, status: ChallengeStatus, *, at: datetime | None = None, error: Problem | None = None) -> Challenge:
        """The challenge after a lawful step."""
        return evolve(self, status=_step(CHALLENGE, self.status, status), validated=at, error=error)


@frozen
class Authorization:
    """RFC 8555 section 7.1.4: that one account may have certificates for one name, until ``expires``."""

    id: int
    account: int
    identifier: Identifier
    """Without ``*.``."""
    wildcard: bool
    challenges: tuple[Challenge, ...]
    expires: datetime
    status: AuthorizationStatus = AuthorizationStatus.PENDING

    def to(self, status: AuthorizationStatus, *, expires: datetime | None = None) -> Authorization:
        """The authorization after a lawful step."""
        return evolve(self, status=_step(AUTHORIZATION, self.status, status), expires=expires or self.expires)

    @property
    def failure(self) -> Problem | None:
        """What was wrong, if a validation failed."""
        return next((each.error for each in self.challenges if each.error is not None), None)

    def with_challenge(self, index: int, challenge: Challenge) -> Authorization:
        """The same authorization with one challenge replaced."""
        return evolve(
            self, challenges=tuple(challenge if at == index else each for at, each in enumerate(self.challenges))
        )


@frozen
class Order:
    """RFC 8555 section 7.1.3, with ``profile`` and RFC 9773's ``replaces``."""

    id: int
    account: int
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[int, ...]
    expires: datetime
    profile: str | None = None
    replaces: str | None = None
    """The ARI identifier of the certificate that this one takes the place of."""
    status: OrderStatus = OrderStatus.PENDING
    certificate: str | None = None
    error: Problem | None = None

    def to(self, status: OrderStatus, *, certificate: str | None = None, error: Problem | None = None) -> Order:
        """The order after a lawful step."""
        return evolve(self, status=_step(ORDER, self.status, status), certificate=certificate, error=error)


@frozen
class Issued:
    """A certificate that was signed, and what became of it."""

    id: str
    """Its RFC 9773 section 4.1 identifier."""
    account: int
    order: int
    identifiers: tuple[Identifier, ...]
    leaf: x509.Certificate
    not_before: datetime
    expires: datetime
    """Its notAfter."""
    revoked: datetime | None = None
    replaced_by: int | None = None
    """The order that names it in ``replaces``."""
