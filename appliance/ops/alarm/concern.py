"""When somebody has to be told: what is wrong with a site, and whether it was told already. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from attrs import evolve, frozen

from appliance.acme.schedule import SHORT_LIFE, is_expiring
from appliance.ops.status.document import AfterSwap, Report
from appliance.tls.certificate import Certificate

AGAIN = timedelta(days=1)
"""Between two messages on the same site."""
UNSENT = timedelta(minutes=15)
"""Until a message that could not be sent by any way is tried again."""
PATIENCE = 3
"""So many failures in a row of a site that never had a certificate are worth a message."""


@frozen
class Concern:
    """What is wrong with a site."""

    kind: str
    """One of ``missing``, ``expired``, ``expiring``, ``late``, ``unsaved``, ``wire``, ``export``, ``other``."""
    text: str
    """In words, with what to do."""


@frozen
class Told:
    """What is remembered of a site that is, or was, a concern."""

    kind: str
    since: datetime
    sent: datetime | None
    """None: nobody could be told yet."""
    tried: datetime


@frozen
class Message:
    """What is to be told now."""

    site: str
    recovered: bool
    kind: str
    text: str
    since: datetime


def last_safe_moment(certificate: Certificate) -> datetime:
    """Half of the time for renewal is over: what has not come by itself until then wants a human.

    A third of its life before the end a certificate is due, half if it lives for less than ten days.
    """
    life = certificate.not_after - certificate.not_before
    return certificate.not_after - (life / 4 if life < SHORT_LIFE else life / 6)


def concern(report: Report, after_swap: AfterSwap, now: datetime) -> Concern | None:
    """The worst that is wrong with a site; None if nobody has to be told."""
    serving, state = report.serving, report.state
    why = state.problem or "no attempt has failed; see the log"
    if serving is None:
        if state.failures < PATIENCE:
            return None
        return Concern("missing", f"has no certificate and cannot be reached over TLS: {why}")
    end = f"{serving.not_after:%Y-%m-%d %H:%M} UTC"
    if now >= serving.not_after:
        return Concern("expired", f"its certificate EXPIRED at {end}, browsers refuse it: {why}")
    if is_expiring(serving.not_before, serving.not_after, now):
        return Concern("expiring", f"its certificate expires soon, at {end}, and is not renewed: {why}")
    if now >= last_safe_moment(serving):
        return Concern("late", f"its certificate is overdue for renewal, it ends at {end}: {why}")
    if not report.saved:
        return Concern(
            "unsaved", "its new certificate cannot be saved, and a restart loses it: free space, see the log"
        )
    if after_swap.problem:
        return Concern("wire", f"it does not serve what is stored: {after_swap.problem}")
    if report.alarm:
        return Concern("other", report.alarm)
    return Concern("export", after_swap.export) if after_swap.export else None


def to_tell(
    known: Mapping[str, Told], concerns: Mapping[str, Concern], sites: Iterable[str], now: datetime
) -> tuple[list[Message], dict[str, Told]]:
    """
    The messages for now, and what is remembered if all of them are sent.

    A site's first concern at once, then once a day while there is one; its end once, if anybody was told. Sites that
    are no more are forgotten without a word.
    """
    messages: list[Message] = []
    after: dict[str, Told] = {}
    for site in sites:
        found, before = concerns.get(site), known.get(site)
        if found is not None:
            since = before.since if before is not None else now
            if before is None or _due(before, now):
                messages.append(Message(site, False, found.kind, found.text, since))
                after[site] = Told(found.kind, since, now, now)
            else:
                after[site] = evolve(before, kind=found.kind)
        elif before is not None and before.sent is not None:
            messages.append(Message(site, True, before.kind, "is well again", before.since))
    return messages, after


def unsent(told: Told | None, message: Message, now: datetime) -> Told:
    """What is remembered of a message that nobody took."""
    sent = told.sent if told is not None else None
    return Told(message.kind, message.since, sent, now)


def _due(told: Told, now: datetime) -> bool:
    if told.tried > now:
        return True  # the clock was set back
    if told.sent is None or told.sent < told.tried:
        return now - told.tried >= UNSENT
    return now - told.sent >= AGAIN
