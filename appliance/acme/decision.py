"""What to do next for one site: a pure function of what is known about it. ``renewal`` does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import Enum

from attrs import field, frozen

from appliance.acme.ari import LATEST_CHECK, Suggestion
from appliance.acme.losses import names_to_order, still_lost
from appliance.acme.schedule import (
    LONGEST_RETRY_AFTER,
    SHORT_LIFE,
    SKEW,
    first_moment,
    is_expiring,
    is_valid,
    last_safe_moment,
    next_renewal,
)
from appliance.acme.state import RenewalState
from appliance.errors import CertificateError
from appliance.tls.certificate import Certificate, wildcard_of

CLOCK_WATCH = timedelta(seconds=10)
"""How often the clock is looked at while nothing but it keeps a site from being served: it may be set at any moment."""

_TRIALS = ("staging", "sandbox", "test-api", "api.test")
"""What stands in the names of CAs, or of their directories, whose certificates nobody trusts."""

_LONGEST_WAIT = LONGEST_RETRY_AFTER + timedelta(days=1)


class Step(Enum):
    """What can be done for a site."""

    STORE = "store"
    """Write the certificate that is not saved yet."""
    INSTALL = "install"
    """Serve the newest certificate."""
    ASK = "ask"
    """Ask the CA when it would like to renew the certificate."""
    RENEW = "renew"
    """Order a new certificate."""
    WAIT = "wait"
    """Nothing before ``Action.at``."""


@frozen
class Action:
    """The next thing to do, when, and why: for the service, the log and the status page."""

    step: Step
    at: datetime
    reason: str
    look: datetime | None = None
    """When to look again, if something less than this action comes before it."""


@frozen
class Situation:
    """All that matters for a site's next step."""

    names: tuple[str, ...]
    state: RenewalState = field(factory=RenewalState)
    serving: Certificate | None = None
    """What handshakes get now."""
    stored: Certificate | None = None
    """The best one in the store, as far as it is known to be loadable."""
    unsaved: Certificate | None = None
    """A newer one that could not be written yet: it is never thrown away for that, since orders are rationed."""
    store_again: datetime | None = None
    """When to try writing it again; None is at once."""
    spread: float = 0.0
    """See ``schedule.next_renewal``."""
    asks: bool = False
    """Whether CAs are asked for renewal information at all."""
    ask_from: datetime | None = None
    """Not before then, unless it is due: thousands of sites do not ask all at once."""
    demanded: str = ""
    """Why a new certificate is wanted although none is due: an operator's reason; empty if it is not."""
    authorities: Mapping[str, str] = field(factory=dict)
    """The site's CAs: the host of each one's directory, empty if that is not known, by name."""
    gathered: datetime | None = None
    """After a jump of the wall clock: no renewal before then, so that not all sites that missed theirs go together."""


def decide(situation: Situation, now: datetime) -> Action:
    """
    Say what to do next.

    A new certificate is written before it is served. When writing fails, the old one stays in service until it is
    about to expire; only then, or where no old one covers all names, is the unsaved one served: a site that is down
    helps nobody.
    """
    unsaved, stored, serving = situation.unsaved, situation.stored, situation.serving
    if unsaved is not None:
        if situation.store_again is None or situation.store_again <= now:
            return Action(Step.STORE, now, "the new certificate is not saved yet")
        if serving is not unsaved and not is_good(serving, situation.names, now):
            return Action(Step.INSTALL, now, "the new certificate is not saved, but the old one will not do any longer")
    elif stored is not None and serving is not stored and is_valid(stored.not_before, stored.not_after, now):
        return Action(Step.INSTALL, now, "the stored certificate is to be served")
    due, reason = _due(newest(situation), situation, now)
    ask = _ask_at(newest(situation), situation, due, now)
    if ask is not None and ask <= now:
        return Action(Step.ASK, now, "the CA is to be asked when to renew the certificate")
    for allowed, why in _bars(situation, now):
        if allowed > max(due, now):
            due, reason = allowed, f"{reason}; {why} not before then"
    if due <= now:
        return Action(Step.RENEW, now, reason)
    return _wait(situation, due, reason, ask, now)


def _wait(situation: Situation, due: datetime, reason: str, ask: datetime | None, now: datetime) -> Action:
    unsaved, stored, serving = situation.unsaved, situation.stored, situation.serving
    if unsaved is not None and situation.store_again is not None and situation.store_again < due:
        due, reason = situation.store_again, "the new certificate could not be saved; it is tried again then"
    elif stored is not None and serving is not stored and now < stored.not_before - SKEW < due:
        due, reason = stored.not_before - SKEW, "the stored certificate is not valid before then: is the clock right?"
    look = due if ask is None else min(due, ask)
    if serving is None and stored is not None and now < stored.not_before - SKEW:
        look = min(look, now + CLOCK_WATCH)
    return Action(Step.WAIT, due, reason, look)


def newest(situation: Situation) -> Certificate | None:
    """The certificate that the next one will take the place of."""
    return situation.unsaved or situation.stored or situation.serving


class Stock:
    """Certificates found by the names that they cover: as fast for one site of thousands as for the only one."""

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        self._by_name: dict[str, list[Certificate]] = {}
        for certificate in certificates:
            for name in certificate.names:
                self._by_name.setdefault(name, []).append(certificate)

    def covering(self, names: Iterable[str]) -> list[Certificate]:
        """Those that cover at least one of ``names``, each once."""
        keys = dict.fromkeys(key for name in names for key in (name.lower(), wildcard_of(name.lower())))
        found = (certificate for key in keys for certificate in self._by_name.get(key, ()))
        return list({id(certificate): certificate for certificate in found}.values())


def choose(names: Iterable[str], stock: Stock, now: datetime) -> Certificate | None:
    """
    Pick the stored certificate to serve for ``names``, whatever name it is stored under; None if none is any good.

    It covers most of the names, has not expired, has its own key; one that is valid now goes before one that is not
    yet; among equals the one that lasts longest.
    """
    names = tuple(names)

    def rank(certificate: Certificate) -> tuple[bool, int, datetime]:
        valid = is_valid(certificate.not_before, certificate.not_after, now)
        return valid, len(covered(certificate, names)), certificate.not_after

    candidates = sorted(stock.covering(names), key=rank, reverse=True)
    return next((certificate for certificate in candidates if _can_be_served(certificate, now)), None)


def covered(certificate: Certificate, names: Iterable[str]) -> tuple[str, ...]:
    """Those of ``names`` that the certificate covers."""
    return tuple(name for name in names if certificate.covers(name))


def is_good(certificate: Certificate | None, names: tuple[str, ...], now: datetime) -> bool:
    """Whether it can go on serving for a while: all names, dates, not about to expire."""
    return (
        certificate is not None
        and len(covered(certificate, names)) == len(names)
        and is_valid(certificate.not_before, certificate.not_after, now)
        and not is_expiring(certificate.not_before, certificate.not_after, now)
    )


def _can_be_served(certificate: Certificate, now: datetime) -> bool:
    """Now, or when its time has come."""
    try:
        certificate.check((), max(now, certificate.not_before))
    except CertificateError:
        return False
    return True


def _due(certificate: Certificate | None, situation: Situation, now: datetime) -> tuple[datetime, str]:
    if certificate is None:
        return now, "there is no certificate"
    if situation.demanded:
        return now, situation.demanded
    wanted = names_to_order(situation.names, situation.state.losses, certificate, now)
    uncovered = [name for name in wanted if not certificate.covers(name)]
    if uncovered:
        return now, f"the certificate does not cover {', '.join(uncovered)}"
    if certificate.not_after <= now:
        return now, f"the certificate expired at {certificate.not_after:%Y-%m-%d %H:%M:%S} UTC"
    if certificate is situation.serving and _was_a_trial(situation):
        name = situation.state.host or situation.state.authority
        return now, f"the certificate is from {name}, which is no longer configured for this site"
    due, reason = _scheduled(certificate, situation, now)
    lost = still_lost(situation.state.losses, situation.names, certificate)
    again = min(lost, key=lambda loss: loss.next_attempt, default=None)
    if again is not None and again.next_attempt < due:
        return again.next_attempt, f"{again.name}, which could not be validated, is tried again"
    return due, reason


def _was_a_trial(situation: Situation) -> bool:
    """Whether the certificate in service is known to be from a CA to try things out with, which is the site's no more.

    One from any other CA is good: it stays until it is due, whatever is configured meanwhile.
    """
    state, authorities = situation.state, situation.authorities
    known = (state.host or state.authority).lower()
    if not authorities or not any(word in known for word in _TRIALS):
        return False
    return not any(state.is_from(name, host) for name, host in authorities.items())


def _scheduled(certificate: Certificate, situation: Situation, now: datetime) -> tuple[datetime, str]:
    """By the CA's suggestion, as long as it stands to it and to reason; else by the certificate's age."""
    suggestion = suggestion_for(certificate, situation.state)
    if suggestion is not None and suggestion.is_believed(now):
        earliest = first_moment(certificate.not_before, certificate.not_after)
        latest = last_safe_moment(certificate.not_before, certificate.not_after)
        moment = max(earliest, min(suggestion.moment, latest))
        if suggestion.overdue:
            return moment, "the CA wants it replaced at once: its window was over already"
        window = f"from {suggestion.start:%Y-%m-%d %H:%M} to {suggestion.end:%Y-%m-%d %H:%M} UTC"
        return moment, f"the CA suggests a moment {window}"
    part = "half" if certificate.not_after - certificate.not_before < SHORT_LIFE else "a third"
    due = next_renewal(certificate.not_before, certificate.not_after, situation.spread)
    return due, f"a certificate is renewed when {part} of its life is left"


def suggestion_for(certificate: Certificate | None, state: RenewalState) -> Suggestion | None:
    """What the CA suggests for this certificate."""
    inquiry = state.inquiry_of(certificate)
    return inquiry.suggestion if inquiry is not None else None


def _ask_at(certificate: Certificate | None, situation: Situation, due: datetime, now: datetime) -> datetime | None:
    """When to ask the CA about the certificate, at once if it is due; None if it is not to be asked."""
    if not situation.asks or certificate is None or certificate.not_after <= now:
        return None
    inquiry = situation.state.inquiry_of(certificate)
    turn = situation.ask_from
    if turn is None or turn > now + LATEST_CHECK or due <= now:
        turn = now
    if inquiry is None or inquiry.again > now + 2 * LATEST_CHECK:  # the clock was set back
        return turn
    return max(inquiry.again, turn)


def _bars(situation: Situation, now: datetime) -> Iterator[tuple[datetime, str]]:
    """What forbids an attempt, until when; but for what does not make sense any longer."""
    state = situation.state
    if situation.gathered is not None and now < situation.gathered <= now + _LONGEST_WAIT and not situation.demanded:
        yield situation.gathered, "the clock has jumped, and to spread what that made due"
    if state.next_attempt is None or set(state.names) != set(situation.names):
        return
    if state.last_attempt is not None and state.last_attempt > now:
        return  # the wall clock was set back: what it said then means nothing now
    if state.next_attempt <= now + _LONGEST_WAIT:
        yield state.next_attempt, state.waiting or _reason(state)


def _reason(state: RenewalState) -> str:
    if state.failures == 0:
        return "the last attempt was interrupted;"
    return f"after {state.failures} failure{'s' if state.failures != 1 else ''} in a row"
