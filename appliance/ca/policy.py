"""What the demo CA is asked to do and to refuse: frozen values, replaced as a whole while it runs."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from attrs import field, frozen

from appliance.ca.model import Identifier, Issued

TEST_SUFFIXES = ("localhost", "test", "example", "internal", "invalid")
"""Names that no public CA certifies (RFC 2606, RFC 6761, ICANN's ``internal``)."""


@frozen
class Profile:
    """A kind of certificate that an order may ask for (draft-ietf-acme-profiles)."""

    lifetime: timedelta
    """From notBefore to notAfter, in whole seconds."""
    description: str = "for demonstrations and tests only"


@frozen
class Rate:
    """At most ``count`` within any ``period``."""

    count: int
    period: timedelta


@frozen
class RateLimits:
    """Budgets; None means unlimited. Orders that lawfully replace a certificate are exempt, as at Let's Encrypt."""

    new_accounts: Rate | None = None
    orders_per_account: Rate | None = None
    certificates_per_name_set: Rate | None = None
    certificates_per_domain: Rate | None = None
    """Per last two labels: no public suffix list here."""
    failures_per_name: Rate | None = None
    """Failed validations per account and name."""


LETS_ENCRYPT_LIMITS = RateLimits(
    new_accounts=Rate(10, timedelta(hours=3)),
    orders_per_account=Rate(300, timedelta(hours=3)),
    certificates_per_name_set=Rate(5, timedelta(days=7)),
    certificates_per_domain=Rate(50, timedelta(days=7)),
    failures_per_name=Rate(5, timedelta(hours=1)),
)
"""Let's Encrypt's published budgets, for rehearsals and time travel."""


@frozen
class Window:
    """When a certificate had best be renewed (RFC 9773 section 4.2)."""

    start: datetime
    end: datetime
    explanation: str | None = None
    """A URL."""


def last_third(issued: Issued, now: datetime) -> Window:
    """The usual window: it opens when a third of the life is left and lasts a fiftieth of the life."""
    life = issued.expires - issued.not_before
    start = issued.expires - life / 3
    return Window(start, start + life / 50)


@frozen
class Policy:
    """All knobs. The defaults certify names reserved for tests, for 90 days, without any limit."""

    lifetime: timedelta = timedelta(days=90)
    """Of orders that name no profile. Seconds-long ones work."""
    profiles: Mapping[str, Profile] = field(factory=dict)
    backdate: timedelta = timedelta(0)
    """How far notBefore lies before the signing; notAfter is counted from notBefore."""

    suffixes: tuple[str, ...] | None = TEST_SUFFIXES
    """Only these names, names below them and loopback addresses are certified; None certifies everything."""
    blocked: frozenset[str] = frozenset()
    """Names refused with ``rejectedIdentifier``, together with all names below them."""
    max_identifiers: int = 100

    external_accounts: Mapping[str, bytes] = field(factory=dict, repr=False)
    """Key identifier -> HMAC key, decoded. When there are any, every new account needs one (section 7.3.4)."""
    require_terms: bool = True
    limits: RateLimits = RateLimits()
    reject_nonces: float = 0.0
    """Share of good nonces answered with ``badNonce``, from 0 to 1."""

    order_expiry: timedelta = timedelta(days=7)
    authorization_reuse: timedelta = timedelta(0)
    """How long a valid authorization serves further orders; 0 validates every time."""
    validation_delay: float = 0.0
    """Seconds from the client's "ready" to the validation."""
    issuance_delay: float = 0.0
    """Seconds that a finalized order stays ``processing``."""
    poll_after: int | None = None
    """Seconds in the Retry-After of pending challenges and processing orders; None sends none."""
    unknown_challenge: bool = False
    """Also offer a challenge of a type without token that no client knows; clients must ignore it."""

    renewal_window: Callable[[Issued, datetime], Window] | None = last_third
    """What renewalInfo suggests, from the certificate and the present; None switches RFC 9773 off."""
    renewal_info_poll: int = 21_600
    """Seconds in renewalInfo's Retry-After."""

    max_objects: int = 10_000
    """Bound on each kind of object held. Expired ones make room; beyond it new ones are refused."""

    def permits(self, identifier: Identifier) -> bool:
        """Whether the name is among those that this CA is for."""
        if self.suffixes is None:
            return True
        if identifier.type == "ip":
            return ipaddress.ip_address(identifier.value).is_loopback
        return any(_within(identifier.base.value, suffix) for suffix in self.suffixes)

    def blocks(self, identifier: Identifier) -> bool:
        """Whether the name or one above it is on the block list."""
        return any(_within(identifier.base.value, name) for name in self.blocked)

    def lifetime_of(self, profile: str | None) -> timedelta:
        """How long a certificate of this profile lives; the usual time for none or for one dropped since."""
        found = None if profile is None else self.profiles.get(profile)
        return self.lifetime if found is None else found.lifetime


def _within(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith("." + suffix)
