"""Our own budgets, kept below those of the CA: what was used when, and when there is room again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import field, frozen

from appliance.acme.schedule import LONGEST_RETRY_AFTER

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

# Second-level labels below which two-letter top-level domains register names. Judging by them is what a full public
# suffix list would do for nearly everybody; where it is wrong, sites share a budget that they need not share.
_REGISTRIES = frozenset({"ac", "co", "com", "edu", "gob", "gov", "gv", "ltd", "me", "net", "ne", "nom", "or", "org"})

_LONGEST = 8 * DAY
"""Longer than any period here, to allow for clocks that were set."""

_MAX_USES = 10_000
"""Subjects kept in a ledger; the longest unused ones go first."""


@frozen
class Rate:
    """At most ``count`` within any ``period``."""

    count: int
    period: timedelta


@frozen
class Limits:
    """What may be used of one CA; None is without limit."""

    orders: Rate | None = None
    """Per account."""
    name_set: Rate | None = None
    """Certificates with exactly the same names."""
    domain: Rate | None = None
    """Certificates per registered domain."""
    failures: Rate | None = None
    """Failed authorizations per name."""


UNLIMITED = Limits()
LETS_ENCRYPT = Limits(
    orders=Rate(270, 3 * HOUR), name_set=Rate(4, 7 * DAY), domain=Rate(45, 7 * DAY), failures=Rate(4, HOUR)
)
"""A tenth, or one, below what Let's Encrypt allows: another client may use the same names."""
LETS_ENCRYPT_STAGING = Limits(orders=Rate(1350, 3 * HOUR), failures=Rate(180, HOUR))


def limits_of(directory: str) -> Limits:
    """What is known of the CA behind a directory URL. Other CAs publish no numbers; their 429s are honoured."""
    host = urlsplit(directory).hostname or ""
    if not host.endswith(".api.letsencrypt.org"):
        return UNLIMITED
    return LETS_ENCRYPT_STAGING if "staging" in host else LETS_ENCRYPT


@frozen
class Use:
    """One thing that is counted."""

    key: str
    """What it is counted under: the CA, the kind and the subject."""
    rate: Rate
    what: str
    """In words."""


def order_uses(authority: str, limits: Limits) -> tuple[Use, ...]:
    """What asking for an order uses, for good."""
    return _uses(authority, "order", limits.orders, [("", "orders of this account")])


def certificate_uses(authority: str, limits: Limits, names: Sequence[str]) -> tuple[Use, ...]:
    """What a certificate for ``names`` uses; given back if none comes of it."""
    every = ",".join(sorted(set(names)))
    domains = sorted({registered_domain(name) for name in names})
    return (
        *_uses(authority, "names", limits.name_set, [(every, "certificates for exactly these names")]),
        *_uses(authority, "domain", limits.domain, [(domain, f"certificates below {domain}") for domain in domains]),
    )


def failure_uses(authority: str, limits: Limits, names: Iterable[str]) -> tuple[Use, ...]:
    """What failed validations of ``names`` use."""
    subjects = [(name, f"failed validations of {name}") for name in sorted({_base(name) for name in names})]
    return _uses(authority, "failure", limits.failures, subjects)


def registered_domain(name: str) -> str:
    """The domain that somebody registered, as well as can be told without a list; an IP address is its own."""
    try:
        return str(ip_address(name))
    except ValueError:
        labels = _base(name).split(".")
    registry = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _REGISTRIES
    return ".".join(labels[-3 if registry else -2 :])


@frozen
class Hold:
    """Why an order has to wait, and until when."""

    until: datetime
    reason: str


@frozen
class Accounts:
    """What is kept of a ledger on disk."""

    uses: dict[str, tuple[datetime, ...]] = field(factory=dict)
    holds: dict[str, datetime] = field(factory=dict)
    """CAs that want to be left alone as a whole, until then."""


class Ledger:
    """What was used. Times are aware, UTC: they outlive the process."""

    __slots__ = ("_holds", "_uses")

    def __init__(self, accounts: Accounts | None = None) -> None:
        self._uses = {key: sorted(times) for key, times in accounts.uses.items()} if accounts else {}
        self._holds = dict(accounts.holds) if accounts else {}

    def room(self, authority: str, uses: Iterable[Use], now: datetime) -> Hold | None:
        """When the CA may be asked and all of ``uses`` fit, if that is not now."""
        holds = [hold for use in uses if (hold := self._full(use, now)) is not None]
        until = self._holds.get(authority, now)
        if now < until <= now + LONGEST_RETRY_AFTER:
            holds.append(Hold(until, f"{authority} wants no orders from this account"))
        return max(holds, key=lambda hold: hold.until, default=None)

    def hold(self, authority: str, until: datetime) -> None:
        """The CA wants to be left alone by the whole account."""
        self._holds[authority] = until

    def spend(self, uses: Iterable[Use], now: datetime) -> None:
        """Count them."""
        for use in uses:
            times = self._uses.pop(use.key, [])
            times.append(now)
            self._uses[use.key] = times[-use.rate.count :]
        while len(self._uses) > _MAX_USES:
            del self._uses[next(iter(self._uses))]

    def refund(self, uses: Iterable[Use]) -> None:
        """Take the latest one of each back."""
        for use in uses:
            times = self._uses.get(use.key)
            if times:
                times.pop()

    def accounts(self, now: datetime) -> Accounts:
        """For the disk; what is over is forgotten."""
        kept = {key: tuple(time for time in times if time > now - _LONGEST) for key, times in self._uses.items()}
        holds = {authority: until for authority, until in self._holds.items() if until > now}
        return Accounts({key: times for key, times in kept.items() if times}, holds)

    def _full(self, use: Use, now: datetime) -> Hold | None:
        times = self._uses.get(use.key, [])
        # What lies in the future was written by a clock that was wrong. Taken for now, once and for all, it holds
        # nobody up for years: were it now at every look, it would never be over.
        times[:] = [min(time, now) for time in times]
        recent = [time for time in times if time > now - use.rate.period]
        if len(recent) < use.rate.count:
            return None
        until = recent[-use.rate.count] + use.rate.period
        return Hold(until, f"{len(recent)} {use.what} within {_words(use.rate.period)} are all we allow ourselves")


def _uses(authority: str, kind: str, rate: Rate | None, subjects: Iterable[tuple[str, str]]) -> tuple[Use, ...]:
    if rate is None:
        return ()
    return tuple(Use(f"{authority} {kind} {subject}", rate, what) for subject, what in subjects)


def _base(name: str) -> str:
    return name.removeprefix("*.")


def _words(period: timedelta) -> str:
    return f"{period.days} days" if period >= DAY else f"{period // HOUR} h"
