"""Names of a site that could not be validated: the others are certified without them, they are tried again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import frozen

from appliance.acme.schedule import is_expiring, is_valid, retry_delay
from appliance.errors import Problem
from appliance.tls.certificate import Certificate


@frozen
class Loss:
    """One name that is left out of orders for now."""

    name: str
    failures: int
    """In a row."""
    problem: Problem
    """The CA's, of the last time."""
    next_attempt: datetime


def after_failures(
    losses: Iterable[Loss], failures: Mapping[str, Problem], now: datetime, random: Callable[[], float]
) -> tuple[Loss, ...]:
    """The losses after an order in which these names failed; each has its own ladder (see ``retry_delay``)."""
    known = {loss.name: loss for loss in losses}
    for name, problem in failures.items():
        count = known[name].failures + 1 if name in known else 1
        delay = retry_delay(count, random, retry_after=problem.retry_after)
        known[name] = Loss(name, count, problem, now + delay)
    return tuple(known.values())


def names_to_order(
    names: tuple[str, ...], losses: Iterable[Loss], certificate: Certificate | None, now: datetime
) -> tuple[str, ...]:
    """
    What to ask for now: all names but those whose next attempt is still to come.

    First of all, those that are not lost: while no certificate has them, lost ones are not tried again. A name that a
    valid certificate covers is not left out before the last tenth of that certificate's life: better to fail as a
    whole while there is time. Should nothing be left, everything is asked for.
    """
    losses = tuple(losses)
    lost = {loss.name for loss in losses}
    rest = tuple(name for name in names if name not in lost)
    lasting = certificate if certificate is not None and _lasts(certificate, now) else None
    if rest and not (lasting is not None and all(lasting.covers(name) for name in rest)):
        keep = {name for name in lost if lasting is not None and lasting.covers(name)}
        return tuple(name for name in names if name not in lost - keep)
    waiting = {loss.name for loss in losses if now < loss.next_attempt <= now + _LONGEST}
    out = {name for name in waiting if lasting is None or not lasting.covers(name)}
    return tuple(name for name in names if name not in out) or names


def still_lost(losses: Iterable[Loss], names: Sequence[str], certificate: Certificate | None) -> tuple[Loss, ...]:
    """Those that matter: names of the site that the certificate does not cover."""
    covers = certificate.covers if certificate is not None else lambda name: False
    return tuple(loss for loss in losses if loss.name in names and not covers(loss.name))


def _lasts(certificate: Certificate, now: datetime) -> bool:
    dates = certificate.not_before, certificate.not_after
    return is_valid(*dates, now) and not is_expiring(*dates, now)


_LONGEST = timedelta(days=8)
"""A wait that is longer was written by a clock that was wrong."""
