"""Which of several CAs a site asks next. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from attrs import evolve, frozen

ENOUGH = 3
"""Failures in a row after which the next CA gets its turn."""


@frozen
class AuthorityRecord:
    """How one CA has treated a site since its last certificate."""

    failures: int = 0
    """In a row, by the CA's own fault or will. Names that cannot be validated are no fault of a CA."""
    since: datetime | None = None
    """When the first of them was."""
    until: datetime | None = None
    """The CA wants no order for the site before that."""

    def failed(self, now: datetime, until: datetime | None = None) -> AuthorityRecord:
        """One more."""
        return AuthorityRecord(self.failures + 1, self.since or now, until)

    def told_to_wait(self, until: datetime) -> AuthorityRecord:
        """A rate limit: no failure, and no attempt before then."""
        return evolve(self, until=until)


_NEVER_FAILED = AuthorityRecord()


def choose_authority(
    authorities: Sequence[str],
    records: Mapping[str, AuthorityRecord],
    dates: tuple[datetime, datetime] | None,
    now: datetime,
) -> str:
    """
    The first CA, unless it has had its chances; with all of them failing, each in turn.

    With a certificate in service there is no hurry to leave the first CA: an outage of hours, or a rate limit that
    ends in time, is waited out. It is left when it has failed ``ENOUGH`` times and for a tenth of the certificate's
    life, or tells us to wait until less than a tenth is left. Without one it is left after ``ENOUGH`` failures, which
    takes seconds when it does not answer, and at once when it tells us to wait.

    :param authorities: by preference; at least one.
    :param dates: notBefore and notAfter of a certificate in service for all that is wanted; None without.
    """
    candidates = [name for name in authorities if not _barred(records.get(name, _NEVER_FAILED), dates, now)]

    def rank(name: str) -> int:
        return _spent_turns(records.get(name, _NEVER_FAILED), dates, now)

    return min(candidates or authorities, key=rank)  # among equals the first


def _spent_turns(record: AuthorityRecord, dates: tuple[datetime, datetime] | None, now: datetime) -> int:
    if dates is None or record.since is None:
        return record.failures // ENOUGH
    begin, end = dates
    tenth = (end - begin) / 10
    return record.failures // ENOUGH if now - record.since >= tenth or now >= end - tenth else 0


def _barred(record: AuthorityRecord, dates: tuple[datetime, datetime] | None, now: datetime) -> bool:
    if record.until is None or record.until <= now:
        return False
    if dates is None:
        return True
    begin, end = dates
    return record.until > end - (end - begin) / 10
