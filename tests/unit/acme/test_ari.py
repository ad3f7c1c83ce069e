"""Renewal information: what is believed of it, and when the CA is asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from appliance.acme.ari import (
    BELIEVED_FOR,
    LATEST_CHECK,
    SOONEST_CHECK,
    Inquiry,
    RenewalInfo,
    certificate_id,
    check_delay,
)
from appliance.ca.authority import ari_identifier
from appliance.errors import AcmeProtocolError
from tests.support.certificates import make_certificate
from tests.support.demo_ca import World

NOW = datetime(2027, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
INFO = RenewalInfo(NOW + 10 * DAY, NOW + 12 * DAY, "https://ca.test/why")
NEVER_ASKED = Inquiry("abc", NOW)


def middle() -> float:
    return 0.5


def document(**fields: Any) -> dict[str, Any]:
    window = {"start": "2027-01-11T00:00:00Z", "end": "2027-01-13T01:00:00+01:00"}
    return {"suggestedWindow": window, "explanationURL": "https://ca.test/why"} | fields


def test_parse() -> None:
    """Times in any zone, fractions of seconds, and a URL for the operator."""
    assert RenewalInfo.from_json(document()) == INFO
    window = {"start": "2027-01-11T00:00:00.5Z", "end": "2027-01-12T00:00:00Z"}
    assert RenewalInfo.from_json(document(suggestedWindow=window)).start.microsecond == 500_000


@pytest.mark.parametrize("url", [None, 1, "https://ca.test/\n", "x" * 3000, "https://ä.test"])
def test_useless_explanations(url: object) -> None:
    """One that is no plain URL is left out; the rest counts."""
    assert RenewalInfo.from_json(document(explanationURL=url)).explanation is None


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        [],
        {},
        {"suggestedWindow": []},
        {"suggestedWindow": {}},
        {"suggestedWindow": {"start": "2027-01-11T00:00:00Z", "end": 1}},
        {"suggestedWindow": {"start": "2027-01-11T00:00:00Z", "end": "soon"}},
        {"suggestedWindow": {"start": "2027-01-11T00:00:00", "end": "2027-01-12T00:00:00"}},
        {"suggestedWindow": {"start": "2027-01-12T00:00:00Z", "end": "2027-01-11T00:00:00Z"}},
    ],
)
def test_nonsense(nonsense: object) -> None:
    """What is no window is an error, and nothing else."""
    with pytest.raises(AcmeProtocolError, match="the CA's renewal"):
        RenewalInfo.from_json(nonsense)


def test_a_moment_in_the_window() -> None:
    """Drawn at first hearing; kept while the CA repeats itself; drawn anew for another window."""
    first = NEVER_ASKED.heard(INFO, None, NOW, lambda: 0.25)
    assert first.suggestion is not None
    assert first.suggestion.moment == NOW + 10.5 * DAY
    assert not first.suggestion.overdue
    repeated = first.heard(INFO, None, NOW + DAY, lambda: 0.9)
    assert repeated.suggestion is not None
    assert repeated.suggestion.moment == first.suggestion.moment
    assert repeated.suggestion.heard == NOW + DAY
    moved = repeated.heard(RenewalInfo(NOW + DAY, NOW + 2 * DAY), None, NOW + DAY, lambda: 0.5)
    assert moved.suggestion is not None
    assert moved.suggestion.moment == NOW + 1.5 * DAY


def test_overdue() -> None:
    """A window that was over when first heard of is an alarm; one that passes by and by is none."""
    past = NEVER_ASKED.heard(RenewalInfo(NOW - 2 * DAY, NOW - DAY), None, NOW, middle).suggestion
    assert past is not None
    assert past.overdue
    later = NEVER_ASKED.heard(INFO, None, NOW, middle).heard(INFO, None, NOW + 20 * DAY, middle).suggestion
    assert later is not None
    assert not later.overdue


def test_belief() -> None:
    """For two days after the CA last said so; a clock that was set back changes nothing."""
    suggestion = NEVER_ASKED.heard(INFO, None, NOW, middle).suggestion
    assert suggestion is not None
    assert suggestion.is_believed(NOW - 300 * DAY)
    assert suggestion.is_believed(NOW + BELIEVED_FOR - HOUR)
    assert not suggestion.is_believed(NOW + BELIEVED_FOR)


def test_failing_and_unknown() -> None:
    """A failure keeps what is known and is repeated within the hour, sooner for short lives; "unknown" forgets."""
    known = NEVER_ASKED.heard(INFO, None, NOW, middle)
    failed = known.failed(NOW, 90 * DAY, middle)
    assert (failed.suggestion, failed.again) == (known.suggestion, NOW + HOUR)
    assert known.failed(NOW, HOUR, middle).again == NOW + HOUR / 20
    assert known.failed(NOW, timedelta(seconds=60), middle).again == NOW + SOONEST_CHECK
    assert known.unknown(NOW, middle).suggestion is None


@given(st.none() | st.floats(0, 1e300), st.floats(0, 1))
def test_asked_at_least_twice_a_day(retry_after: float | None, chance: float) -> None:
    """Whatever the CA says: between a minute and half a day; not earlier than it says, within these bounds."""
    delay = check_delay(retry_after, lambda: chance)
    assert SOONEST_CHECK <= delay <= LATEST_CHECK
    if retry_after is not None and retry_after < LATEST_CHECK.total_seconds():
        assert delay.total_seconds() >= retry_after - 1e-6
    assert NEVER_ASKED.unknown(NOW, lambda: chance).again <= NOW + LATEST_CHECK


def test_names() -> None:
    """The same as the demo CA's; none for a certificate that does not say which key signed it."""
    leaf = World().issue("a.test")
    assert certificate_id(leaf) == ari_identifier(leaf)
    assert certificate_id(make_certificate(["a.test"]).leaf) is None


def test_no_key_identifier() -> None:
    """An authority key identifier may name its issuer otherwise: then there is no name."""
    key = make_certificate(["a.test"]).key
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 5, NOW, NOW + DAY)
    other = x509.AuthorityKeyIdentifier(None, [x509.DNSName("ca.test")], 7)
    assert certificate_id(builder.add_extension(other, critical=False).sign(key, SHA256())) is None


def test_news() -> None:
    """Another window than before is news; the same one, or none, is not."""
    heard = NEVER_ASKED.heard(INFO, None, NOW, middle)
    assert heard.says_more_than(None)
    assert heard.says_more_than(NEVER_ASKED)
    assert not heard.says_more_than(heard)
    assert not NEVER_ASKED.says_more_than(heard)
    assert heard.heard(RenewalInfo(NOW, NOW), None, NOW, middle).says_more_than(heard)
