"""When to renew and when to try again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.acme.schedule import (
    LONGEST_RETRY_AFTER,
    first_moment,
    is_expiring,
    is_valid,
    last_safe_moment,
    next_renewal,
    retry_delay,
)

START = datetime(2027, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))


def no_jitter() -> float:
    return 0.5


@pytest.mark.parametrize(
    ("life", "left"),
    [
        (90 * DAY, 30 * DAY),
        (45 * DAY, 15 * DAY),
        (10 * DAY, 10 * DAY / 3),
        (160 * HOUR, 80 * HOUR),
        (MINUTE, MINUTE / 2),
    ],
)
def test_due(life: timedelta, left: timedelta) -> None:
    """A third of the life is left, or half of a short one."""
    assert next_renewal(START, START + life) == START + life - left


@given(st.floats(1, 1e9), st.floats(0, 1))
def test_spread(life: float, spread: float) -> None:
    """The spread makes it due earlier, by a tenth of the margin at most, and never before it began."""
    end = START + timedelta(seconds=life)
    plain, spread_out = next_renewal(START, end), next_renewal(START, end, spread)
    assert START < spread_out <= plain
    assert plain - spread_out <= (end - plain) / 10 + timedelta(microseconds=2)


def test_expiring() -> None:
    """The last tenth of a life."""
    end = START + 10 * DAY
    assert not is_expiring(START, end, end - DAY - SECOND)
    assert is_expiring(START, end, end - DAY)
    assert is_expiring(START, end, end + DAY)


def test_last_safe_moment() -> None:
    """A fifth of the life is left."""
    assert last_safe_moment(START, START + 10 * DAY) == START + 8 * DAY


def test_first_moment() -> None:
    """A tenth of a short life, a day of a long one."""
    assert first_moment(START, START + 90 * DAY) == START + DAY
    assert first_moment(START, START + 5 * DAY) == START + DAY / 2


def test_valid() -> None:
    """From five minutes before it begins, for clocks that differ, up to its end."""
    end = START + DAY
    assert [is_valid(START, end, now) for now in (START - 6 * MINUTE, START - 4 * MINUTE, end - SECOND, end)] == [
        False,
        True,
        True,
        False,
    ]


def test_ladder() -> None:
    """1, 10, 100 minutes, then daily; for the first certificate and for those with weeks left."""
    expected = [MINUTE, 10 * MINUTE, 100 * MINUTE, DAY, DAY]
    assert [retry_delay(n, no_jitter) for n in range(1, 6)] == expected
    assert [retry_delay(n, no_jitter, life=90 * DAY, left=30 * DAY) for n in range(1, 6)] == expected


def test_jitter() -> None:
    """A tenth either way."""
    assert retry_delay(1, lambda: 0.0) == 54 * SECOND
    assert retry_delay(1, lambda: 1.0) == 66 * SECOND


def test_end_in_sight() -> None:
    """Half of what is left, but not more often than hourly; once nothing is left, the ladder again."""

    def delay(left: timedelta) -> timedelta:
        return retry_delay(9, no_jitter, life=90 * DAY, left=left)

    assert delay(20 * HOUR) == 10 * HOUR
    assert delay(MINUTE) == HOUR
    assert delay(timedelta(0)) == delay(-DAY) == DAY


@pytest.mark.parametrize("life", [10, 60, 600, 3600, 86400, 160 * 3600])
def test_short_lives_get_several_attempts(life: int) -> None:
    """From the renewal on, failing each time, there are at least four more attempts before the end."""
    end = START + life * SECOND
    now, attempts = next_renewal(START, end), 0
    while now < end:
        attempts += 1
        now += retry_delay(attempts, lambda: 1.0, life=end - START, left=end - now)
    assert 4 <= attempts <= 60


def test_ordinary_lives_stay_below_the_limits() -> None:
    """A 45-day certificate failing to its end: never five attempts within an hour, and the last day is used."""
    end = START + 45 * DAY
    now = next_renewal(START, end)
    times = []
    while now < end:
        times.append(now)
        now += retry_delay(len(times), lambda: 0.0, life=end - START, left=end - now)
    assert all(later - earlier > HOUR for earlier, later in zip(times, times[4:], strict=False))
    assert sum(time > end - DAY for time in times) >= 4


def test_retry_after() -> None:
    """The CA's own time goes before the ladder, to the second, but neither below the first rung nor beyond reason."""
    assert retry_delay(4, lambda: 0.0, retry_after=3600) == HOUR
    assert retry_delay(1, lambda: 0.0, retry_after=3600) == HOUR
    assert retry_delay(1, no_jitter, retry_after=0) == MINUTE
    assert retry_delay(1, no_jitter, retry_after=1e300) == LONGEST_RETRY_AFTER


def test_unreachable() -> None:
    """A CA that does not answer is asked again soon, and every quarter of an hour in the end."""
    delays = [retry_delay(n, no_jitter, unreachable=True) for n in (1, 2, 3, 50, 10**6)]
    assert delays == [5 * SECOND, 10 * SECOND, 20 * SECOND, 15 * MINUTE, 15 * MINUTE]
    assert retry_delay(50, no_jitter, unreachable=True, life=90 * DAY, left=10 * DAY) == HOUR, "no hurry yet"
    assert retry_delay(50, no_jitter, unreachable=True, life=90 * DAY, left=8 * DAY) == 15 * MINUTE
    assert retry_delay(1, no_jitter, unreachable=True, life=MINUTE, left=SECOND) == SECOND


@given(
    st.integers(1, 10**9),
    st.floats(0, 1),
    st.none() | st.timedeltas(SECOND, 1000 * DAY),
    st.none() | st.timedeltas(-DAY, 1000 * DAY),
    st.none() | st.floats(0),
    st.booleans(),
)
def test_always_sane(failures: int, chance: float, life, left, retry_after, unreachable) -> None:
    """Whatever happened, the wait is between about a second and about a week."""
    delay = retry_delay(
        failures, lambda: chance, life=life, left=left, retry_after=retry_after, unreachable=unreachable
    )
    assert SECOND * 0.89 < delay <= LONGEST_RETRY_AFTER
