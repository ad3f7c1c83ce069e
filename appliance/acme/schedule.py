"""When to renew and when to try again: arithmetic on dates, nothing else. Time and chance are parameters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

DAY = timedelta(days=1)

SHORT_LIFE = 10 * DAY
"""Certificates that live for less are renewed at half, not at two thirds, of their life."""

SKEW = timedelta(minutes=5)
"""How far the CA's clock may be ahead of ours before its certificates count as not yet valid."""

LONGEST_RETRY_AFTER = 7 * DAY
"""The longest rate-limit window in use; a CA that names a later time has made a mistake."""

_LADDER = (timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=100), DAY)
_UNREACHABLE_FIRST, _UNREACHABLE_LONGEST = timedelta(seconds=5), timedelta(minutes=15)
_UNREACHABLE_NO_HURRY = timedelta(hours=1)
_HOUR = timedelta(hours=1)
_SHORTEST = timedelta(seconds=1)
_JITTER = 0.1


def next_renewal(not_before: datetime, not_after: datetime, spread: float = 0.0) -> datetime:
    """
    When a certificate is due: one third of its life before its end, half if it lives for less than ten days.

    :param spread: from 0 to 1: due earlier by up to a tenth of that time, so that certificates issued together are
        not renewed together for ever.
    """
    life = not_after - not_before
    margin = life / 2 if life < SHORT_LIFE else life / 3
    return not_after - margin * (1 + _JITTER * spread)


def is_expiring(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether less than a tenth of the life is left: time for measures that would be wrong before."""
    return now >= not_after - (not_after - not_before) / 10


def last_safe_moment(not_before: datetime, not_after: datetime) -> datetime:
    """When a renewal, whoever suggests a time for it, is made at the latest: with a fifth of the life left."""
    return not_after - (not_after - not_before) / 5


def first_moment(not_before: datetime, not_after: datetime) -> datetime:
    """When a renewal, whoever suggests a time for it, is made at the earliest.

    After a tenth of the life, or a day. A CA that wants every certificate replaced, the new ones too, does not get an
    endless row of orders.
    """
    return not_before + min((not_after - not_before) / 10, DAY)


def is_valid(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether the dates hold, allowing for a CA whose clock is ahead of ours by no more than ``SKEW``."""
    return not_before - SKEW <= now < not_after


def retry_delay(
    failures: int,
    random: Callable[[], float],
    *,
    life: timedelta | None = None,
    left: timedelta | None = None,
    retry_after: float | None = None,
    unreachable: bool = False,
) -> timedelta:
    """
    How long to wait after a failed attempt.

    1, 10, 100 minutes, then a day (Let's Encrypt's suggestion), give or take a tenth. For lives under ten days all
    are shorter in proportion, down to a second; and with the end in sight, never more than half of what is left, but
    not below an hour, the pace that a limit of five failed validations an hour allows for good. A CA that cannot be
    reached counts no failures, so it is asked again after 5 s, 10 s, … a quarter of an hour, or an hour while more than
    a tenth of the life is left: its return should not go unnoticed for a day.

    :param failures: in a row, this one included, from 1.
    :param random: gives numbers from 0 to 1.
    :param life: of the certificate to be replaced; None if there is none.
    :param left: of that life; None or negative if nothing is left.
    :param retry_after: seconds, when the CA named a time; it goes before the ladder, but not below its first rung.
    :param unreachable: no answer came from the CA.
    """
    scale = min(1.0, life / SHORT_LIFE) if life is not None else 1.0
    first = max(_SHORTEST, _LADDER[0] * scale)
    if retry_after is not None:
        # To the second, not earlier: no jitter.
        return max(first, min(timedelta(seconds=min(retry_after, 1e9)), LONGEST_RETRY_AFTER))
    delay = _LADDER[min(failures, len(_LADDER)) - 1] * scale
    if unreachable:
        hurry = life is None or left is None or left < life / 10
        longest = _UNREACHABLE_LONGEST if hurry else _UNREACHABLE_NO_HURRY * scale
        delay = min(delay, longest, _UNREACHABLE_FIRST * 2 ** min(failures - 1, 10))
    elif left is not None and left > timedelta(0):
        delay = min(delay, max(left / 2, _HOUR * scale))
    return max(_SHORTEST, delay) * (1 + _JITTER * (2 * random() - 1))
