"""Which CA is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from appliance.acme.fallback import AuthorityRecord, choose_authority

NOW = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FRESH = (NOW - 60 * DAY, NOW + 30 * DAY)
"""A certificate that has come due."""
ENDING = (NOW - 85 * DAY, NOW + 5 * DAY)
CAS = ("first", "second", "third")


def chosen(dates: tuple[datetime, datetime] | None = None, **records: AuthorityRecord) -> str:
    return choose_authority(CAS, records, dates, NOW)


def failed(times: int, since: timedelta = timedelta(0)) -> AuthorityRecord:
    record = AuthorityRecord()
    for _ in range(times):
        record = record.failed(NOW - since)
    return record


def test_the_first_one() -> None:
    """While nothing speaks against it, and for the first failures."""
    assert chosen() == chosen(FRESH) == "first"
    assert chosen(first=failed(2)) == "first"


def test_without_a_certificate() -> None:
    """Three failures are enough; three at each, and it is the first one's turn again."""
    assert chosen(first=failed(3)) == "second"
    assert chosen(first=failed(3), second=failed(3)) == "third"
    assert chosen(first=failed(3), second=failed(3), third=failed(3)) == "first"


def test_with_time_left() -> None:
    """An outage of days is waited out; after a tenth of the life the next one is asked, or when the end is near."""
    assert chosen(FRESH, first=failed(500, since=5 * DAY)) == "first"
    assert chosen(FRESH, first=failed(500, since=9 * DAY)) == "second"
    assert chosen(ENDING, first=failed(3)) == "second"
    assert chosen(ENDING, first=failed(2)) == "first"


def test_told_to_wait() -> None:
    """A rate limit is waited out if the certificate lasts; else another CA is asked, unless all want us to wait."""
    soon, late = failed(0).told_to_wait(NOW + DAY), failed(0).told_to_wait(NOW + 25 * DAY)
    assert chosen(FRESH, first=soon) == "first"
    assert chosen(FRESH, first=late) == "second"
    assert chosen(first=soon) == "second"
    assert chosen(first=failed(0).told_to_wait(NOW)) == "first"
    assert chosen(first=soon, second=soon, third=soon) == "first"


def test_records() -> None:
    """The first failure's time stays; a limit is no failure, and a failure ends it."""
    record = AuthorityRecord().failed(NOW).failed(NOW + DAY)
    assert record == AuthorityRecord(2, NOW)
    assert record.told_to_wait(NOW + DAY) == AuthorityRecord(2, NOW, NOW + DAY)
    assert record.told_to_wait(NOW + DAY).failed(NOW).until is None
