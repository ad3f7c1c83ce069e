"""How the next attempt is made, and what is remembered of one that failed: pure functions on a site's record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from attrs import evolve, frozen

from appliance.acme.ari import certificate_id
from appliance.acme.decision import Situation, newest, suggestion_for
from appliance.acme.failure import Blame, Trouble
from appliance.acme.fallback import AuthorityRecord, choose_authority
from appliance.acme.losses import after_failures, names_to_order
from appliance.acme.request import Unfinished
from appliance.acme.schedule import retry_delay
from appliance.acme.state import Attempt, RenewalState
from appliance.tls.certificate import Certificate

REDUCTIONS = 10
"""Orders in a row that may follow each other at once, each for fewer names, before the usual waits apply."""

_INTERRUPTED = "The order had been interrupted, and nobody answered the CA meanwhile."

_OLDEST_ORDER = timedelta(days=1)
"""An order that has not been finished for so long never will be."""

_LAST_TURN = timedelta(minutes=1)
"""How long after all others a site comes back that was refused for the whole account: it may be the only one to be."""


@frozen
class Plan:
    """One attempt."""

    authority: str
    """Which CA."""
    names: tuple[str, ...]
    """All of the site's, or those that are not lost."""
    replaces: str | None = None
    """See ``CertificateRequest``."""
    unfinished: Unfinished | None = None
    """The order to go on with; None for a new one."""
    host: str = ""
    """That of the CA's directory."""


def plan_order(situation: Situation, authorities: Sequence[str], now: datetime) -> Plan:
    """Which CA to ask, for what."""
    state, certificate = situation.state, newest(situation)
    names = names_to_order(situation.names, state.losses, situation.serving, now)
    authority = choose_authority(authorities, state.authorities, _dates(situation.serving, names, now), now)
    replaces = None
    known = suggestion_for(certificate, state) is not None
    host = situation.authorities.get(authority, "")
    if certificate is not None and known and (not state.authority or state.is_from(authority, host)):
        replaces = certificate_id(certificate.leaf)
    unfinished = state.unfinished
    if unfinished is None or not _goes_on(unfinished, authority, names, now):
        unfinished = None
    return Plan(authority, names, replaces, unfinished, host)


def after_failure(
    situation: Situation,
    plan: Plan,
    trouble: Trouble,
    authorities: Sequence[str],
    now: datetime,
    random: Callable[[], float],
) -> RenewalState:
    """
    The record after an attempt that failed: when, and with whom, the next one is.

    An order that was gone on with, and failed, is followed by one for the same names, at once unless there were
    failures before. Where else only some names failed, and no valid certificate covers those for a while yet, they are
    left out and the others are ordered at once.
    """
    state = situation.state
    attempt = Attempt(state.last_attempt or now, plan.names, plan.authority, trouble.words)
    state = evolve(state.remember(attempt), document=trouble.document)
    if not trouble.keeps_order or state.unfinished is None or state.unfinished.url is None:
        state = evolve(state, unfinished=None)
    if plan.unfinished is not None and trouble.names:  # of which this says nothing
        trouble = evolve(trouble, words=f"{trouble.words} {_INTERRUPTED}")
        if state.failures - state.unreached <= 1:  # a crash counts as one: orders are rationed
            return state.fail(trouble.words, None)
        return _postponed(state, plan, trouble, situation, authorities, now, random)
    losses = after_failures(state.losses, {n: p for n, p in trouble.names.items() if n in plan.names}, now, random)
    rest = names_to_order(situation.names, losses, situation.serving, now)
    if losses != state.losses and set(rest) < set(plan.names) and not set(rest) & trouble.names.keys():
        return _reduced(evolve(state, losses=losses), rest, trouble, situation, now, random)
    return _postponed(state, plan, trouble, situation, authorities, now, random)


def _reduced(
    state: RenewalState,
    rest: tuple[str, ...],
    trouble: Trouble,
    situation: Situation,
    now: datetime,
    random: Callable[[], float],
) -> RenewalState:
    serving = situation.serving
    if serving is not None and all(serving.covers(name) for name in rest):
        return evolve(state.fail(trouble.words, None), failures=max(0, state.failures - 1))
    wait = None
    if state.failures > REDUCTIONS:
        wait = now + retry_delay(state.failures - REDUCTIONS, random)
    return state.fail(trouble.words, wait)


def _postponed(
    state: RenewalState,
    plan: Plan,
    trouble: Trouble,
    situation: Situation,
    authorities: Sequence[str],
    now: datetime,
    random: Callable[[], float],
) -> RenewalState:
    certificate = situation.serving or situation.stored
    life = certificate.not_after - certificate.not_before if certificate is not None else None
    left = certificate.not_after - now if certificate is not None else None
    if trouble.unreachable:
        state = evolve(state, unreached=state.unreached + 1)
    delay = retry_delay(
        state.unreached if trouble.unreachable else max(1, state.failures - state.unreached),
        random,
        life=life,
        left=left,
        retry_after=trouble.retry_after,
        unreachable=trouble.unreachable,
    )
    if trouble.whole_account:
        delay += min(_LAST_TURN, delay / 10)
    known = state.authorities.get(plan.authority, AuthorityRecord())
    if trouble.blame is Blame.LIMIT and trouble.retry_after is not None:
        known = known.told_to_wait(now + delay)
    elif trouble.blame in (Blame.CA, Blame.LIMIT):
        known = known.failed(now)
    state = evolve(state, authorities={**state.authorities, plan.authority: known})
    after = choose_authority(authorities, state.authorities, _dates(situation.serving, plan.names, now), now)
    if after == plan.authority:
        return state.fail(trouble.words, now + delay, trouble.retry_after is not None)
    # Another CA, which knows nothing of the troubles with this one: at once, if it is its first turn.
    return state.fail(trouble.words, now + delay if after in state.authorities else None)


def _dates(serving: Certificate | None, names: Sequence[str], now: datetime) -> tuple[datetime, datetime] | None:
    """Of the certificate in service, if it will do for ``names`` until it ends."""
    if serving is None or serving.not_after <= now or not all(serving.covers(name) for name in names):
        return None
    return serving.not_before, serving.not_after


def _goes_on(unfinished: Unfinished, authority: str, names: tuple[str, ...], now: datetime) -> bool:
    return (
        unfinished.url is not None
        and unfinished.authority == authority
        and set(unfinished.names) == set(names)
        and abs(now - unfinished.began) < _OLDEST_ORDER
    )
