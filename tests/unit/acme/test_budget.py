"""Our own budgets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.acme import budget
from appliance.acme.budget import (
    LETS_ENCRYPT,
    LETS_ENCRYPT_STAGING,
    UNLIMITED,
    Accounts,
    Ledger,
    Limits,
    Rate,
    Use,
    certificate_uses,
    failure_uses,
    limits_of,
    order_uses,
    registered_domain,
)
from appliance.ca.policy import LETS_ENCRYPT_LIMITS
from appliance.config import LETS_ENCRYPT as DIRECTORY

NOW = datetime(2027, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TWICE = Use("ca order ", Rate(2, HOUR), "orders of this account")


def test_below_lets_encrypt() -> None:
    """Every budget is below the CA's, over a period that is no shorter."""
    pairs = [
        (LETS_ENCRYPT.orders, LETS_ENCRYPT_LIMITS.orders_per_account),
        (LETS_ENCRYPT.name_set, LETS_ENCRYPT_LIMITS.certificates_per_name_set),
        (LETS_ENCRYPT.domain, LETS_ENCRYPT_LIMITS.certificates_per_domain),
        (LETS_ENCRYPT.failures, LETS_ENCRYPT_LIMITS.failures_per_name),
    ]
    for ours, theirs in pairs:
        assert ours is not None
        assert theirs is not None
        assert ours.count < theirs.count
        assert ours.period >= theirs.period


def test_which_limits() -> None:
    """Let's Encrypt's are known; nobody else's."""
    assert limits_of(DIRECTORY) is LETS_ENCRYPT
    assert limits_of("https://acme-staging-v02.api.letsencrypt.org/directory") is LETS_ENCRYPT_STAGING
    assert limits_of("https://letsencrypt.org.evil.test/directory") is UNLIMITED
    assert limits_of("nonsense") is UNLIMITED


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("*.example.com", "example.com"),
        ("shop.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("www.example.de", "example.de"),
        ("www.co.example", "co.example"),
        ("localhost", "localhost"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_registered_domains(name: str, domain: str) -> None:
    """Two labels, three below the usual registries; an address is its own."""
    assert registered_domain(name) == domain


def test_what_is_counted() -> None:
    """Sets of names in any order, each domain once, wildcards as what they stand below; nothing without limits."""
    limits = Limits(*[Rate(1, HOUR)] * 4)
    uses = certificate_uses("ca", limits, ["b.a.test", "*.a.test"])
    assert uses == certificate_uses("ca", limits, ["*.a.test", "b.a.test"])
    assert [use.key for use in uses] == ["ca names *.a.test,b.a.test", "ca domain a.test"]
    assert [use.key for use in failure_uses("ca", limits, ["*.a.test", "a.test"])] == ["ca failure a.test"]
    assert [use.key for use in order_uses("ca", limits)] == ["ca order "]
    for uses in (order_uses("ca", UNLIMITED), certificate_uses("ca", UNLIMITED, ["a.test"])):
        assert uses == ()


def test_full_and_free_again() -> None:
    """Until the oldest of the uses that count is over, to the microsecond; said in words."""
    ledger = Ledger()
    assert ledger.room("ca", [TWICE], NOW) is None
    for minutes in (0, 10):
        ledger.spend([TWICE], NOW + timedelta(minutes=minutes))
    hold = ledger.room("ca", [TWICE], NOW + timedelta(minutes=20))
    assert hold is not None
    assert hold.until == NOW + HOUR
    assert hold.reason == "2 orders of this account within 1 h are all we allow ourselves"
    assert ledger.room("ca", [TWICE], NOW + HOUR) is None


def test_longest_hold_counts() -> None:
    """Of several budgets that are full, the one that takes longest."""
    ledger = Ledger()
    week = Use("ca names a", Rate(1, 7 * DAY), "certificates for exactly these names")
    ledger.spend([TWICE, TWICE, week], NOW)
    hold = ledger.room("ca", [TWICE, week], NOW)
    assert hold is not None
    assert hold.until == NOW + 7 * DAY
    assert "within 7 days" in hold.reason


def test_refund() -> None:
    """What nothing came of is given back, but no more than there is."""
    ledger = Ledger()
    ledger.spend([TWICE, TWICE], NOW)
    ledger.refund([TWICE])
    assert ledger.room("ca", [TWICE], NOW) is None
    for _ in range(3):
        ledger.refund([TWICE])


def test_whole_account() -> None:
    """A CA that wants to be left alone is, for as long as makes sense, and no other."""
    ledger = Ledger()
    ledger.hold("ca", NOW + HOUR)
    hold = ledger.room("ca", [], NOW)
    assert hold is not None
    assert (hold.until, hold.reason) == (NOW + HOUR, "ca wants no orders from this account")
    assert ledger.room("other", [], NOW) is None
    assert ledger.room("ca", [], NOW + HOUR) is None
    assert ledger.room("ca", [], NOW - 30 * DAY) is None, "the clock was set back"


def test_uses_from_the_future() -> None:
    """A clock that was years ahead for a moment holds nobody up for years, neither at once nor bit by bit."""
    ledger = Ledger()
    ledger.spend([TWICE, TWICE], NOW + 3000 * DAY)
    hold = ledger.room("ca", [TWICE], NOW)
    assert hold is not None
    assert hold.until == NOW + HOUR
    assert ledger.room("ca", [TWICE], NOW + HOUR / 2) == hold
    assert ledger.room("ca", [TWICE], NOW + HOUR) is None
    assert ledger.accounts(NOW).uses == {TWICE.key: (NOW, NOW)}


def test_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over is not written; what is written is read; the number of subjects is bounded."""
    ledger = Ledger()
    ledger.spend([TWICE], NOW)
    ledger.spend([Use("ca old", Rate(1, HOUR), "")], NOW - 9 * DAY)
    ledger.hold("ca", NOW + HOUR)
    ledger.hold("gone", NOW - HOUR)
    accounts = ledger.accounts(NOW)
    assert accounts == Accounts({"ca order ": (NOW,)}, {"ca": NOW + HOUR})
    assert Ledger(accounts).accounts(NOW) == accounts
    monkeypatch.setattr(budget, "_MAX_USES", 3)
    for number in range(5):
        ledger.spend([Use(f"ca {number}", Rate(1, HOUR), "")], NOW)
    assert set(ledger.accounts(NOW).uses) == {"ca 2", "ca 3", "ca 4"}


@given(st.lists(st.integers(0, 100), max_size=60), st.integers(1, 5), st.integers(1, 20))
def test_never_over(gaps: list[int], count: int, period: int) -> None:
    """Whoever asks for room before spending never has more than the rate within any period."""
    use = Use("x", Rate(count, timedelta(minutes=period)), "")
    ledger, now, spent = Ledger(), NOW, []
    for gap in gaps:
        now += timedelta(minutes=gap) / 10
        if ledger.room("ca", [use], now) is None:
            ledger.spend([use], now)
            spent.append(now)
    for start in spent:
        assert sum(start <= time < start + use.rate.period for time in spent) <= count
