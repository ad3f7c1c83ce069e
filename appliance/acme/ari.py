"""Renewal information (RFC 9773): a certificate's name in it, what the CA suggests, the moment chosen. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from attrs import evolve, frozen
from cryptography import x509

from appliance.errors import AcmeProtocolError

SOONEST_CHECK = timedelta(minutes=1)
USUAL_CHECK = timedelta(hours=6)
LATEST_CHECK = timedelta(hours=12)
"""Whatever the CA says: it is asked at least twice a day (RFC 9773 section 4.3.2 bounds it too)."""
CHECK_AFTER_FAILURE = timedelta(hours=1)

BELIEVED_FOR = timedelta(days=2)
"""A CA that has not confirmed its suggestion for so long has lost its say."""

_MAX_URL = 2048


@frozen
class RenewalInfo:
    """What the CA answers (section 4.2)."""

    start: datetime
    end: datetime
    explanation: str | None = None
    """A URL for the operator."""

    @classmethod
    def from_json(cls, data: object) -> RenewalInfo:
        """Parse it. Raises AcmeProtocolError, also for a window that ends before it starts, as section 4.2 wants."""
        window = data.get("suggestedWindow") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(window, dict):
            raise AcmeProtocolError("the CA's renewal information has no suggestedWindow")
        start, end = _timestamp(window.get("start")), _timestamp(window.get("end"))
        if end < start:
            raise AcmeProtocolError("the CA's renewal window ends before it starts")
        url = data.get("explanationURL")
        known = isinstance(url, str) and len(url) <= _MAX_URL and url.isascii() and url.isprintable()
        return cls(start, end, url if known else None)


@frozen
class Suggestion:
    """A window, and the moment in it that was drawn: once, so that restarts do not draw again."""

    start: datetime
    end: datetime
    moment: datetime
    heard: datetime
    """When the CA last said so."""
    overdue: bool = False
    """It was over when it was first heard of: as a rule, because the certificate is to be revoked."""
    explanation: str | None = None

    def is_believed(self, now: datetime) -> bool:
        """Whether it was confirmed lately; a clock that was set back changes nothing."""
        return now - self.heard < BELIEVED_FOR


@frozen
class Inquiry:
    """What is known of one certificate from asking its CA."""

    serial: str
    """The certificate's, in hexadecimal."""
    again: datetime
    """When to ask next."""
    suggestion: Suggestion | None = None
    """None if the CA knows nothing of renewal information, or nothing of this certificate."""

    def says_more_than(self, before: Inquiry | None) -> bool:
        """Whether there is a window that was not known."""
        old = before.suggestion if before is not None else None
        new = self.suggestion
        return new is not None and (old is None or (old.start, old.end) != (new.start, new.end))

    def heard(
        self, info: RenewalInfo, retry_after: float | None, now: datetime, random: Callable[[], float]
    ) -> Inquiry:
        """The CA answered; a window that it repeats keeps its moment. ``retry_after`` in seconds."""
        known = self.suggestion
        if known is not None and (known.start, known.end) == (info.start, info.end):
            suggestion = evolve(known, heard=now, explanation=info.explanation)
        else:
            moment = info.start + (info.end - info.start) * random()
            suggestion = Suggestion(info.start, info.end, moment, now, info.end <= now, info.explanation)
        return Inquiry(self.serial, now + check_delay(retry_after, random), suggestion)

    def failed(self, now: datetime, life: timedelta, random: Callable[[], float]) -> Inquiry:
        """The CA did not answer, or not to the purpose: ask again in about an hour, sooner for short lives."""
        delay = max(SOONEST_CHECK, min(CHECK_AFTER_FAILURE, life / 20)) * (0.9 + 0.2 * random())
        return evolve(self, again=now + delay)

    def unknown(self, now: datetime, random: Callable[[], float]) -> Inquiry:
        """The CA has no renewal information for this certificate, for now."""
        return Inquiry(self.serial, now + LATEST_CHECK * (0.9 + 0.1 * random()))


def check_delay(retry_after: float | None, random: Callable[[], float]) -> timedelta:
    """How long to wait before asking again: what the CA said, within bounds, and up to a tenth more."""
    wanted = USUAL_CHECK if retry_after is None else timedelta(seconds=min(retry_after, 1e9))
    return min(max(wanted, SOONEST_CHECK) * (1 + 0.1 * random()), LATEST_CHECK)


def certificate_id(leaf: x509.Certificate) -> str | None:
    """The certificate's name (section 4.1); None if it does not say which key signed it, as private CAs' may."""
    try:
        issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    if issuer is None:
        return None
    serial = leaf.serial_number
    return f"{_base64url(issuer)}.{_base64url(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _timestamp(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        raise AcmeProtocolError("the CA's renewal window has no usable time")
    return moment.astimezone(UTC)
