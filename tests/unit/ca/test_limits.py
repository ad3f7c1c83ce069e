"""Budgets over sliding windows, and the bounds on what the CA holds."""

from datetime import timedelta
from random import Random

import pytest

from appliance.ca.core import Nonces, Table
from appliance.ca.limits import Budget
from appliance.ca.policy import Rate
from appliance.ca.problems import RefusalError
from tests.support.demo_ca import START

RATE = Rate(2, timedelta(seconds=10))


def at(seconds: float):
    return START + timedelta(seconds=seconds)


def test_a_budget_is_used_up_and_comes_back():
    """The third use within the window is refused with the seconds until the first one leaves it."""
    budget = Budget("tries")
    for moment in (0, 4):
        budget.check(RATE, "key", at(moment))
        budget.spend(RATE, "key", at(moment))
    with pytest.raises(RefusalError, match="too many tries: 2 in the last 0:00:10, 2 are allowed") as caught:
        budget.check(RATE, "key", at(6.5))
    assert caught.value.problem.code == "rateLimited"
    assert caught.value.headers == (("Retry-After", "4"),)
    budget.check(RATE, "another", at(6.5))
    budget.check(RATE, "key", at(10))


def test_a_budget_of_nothing():
    """A count of zero refuses from the beginning."""
    with pytest.raises(RefusalError):
        Budget("tries").check(Rate(0, timedelta(seconds=10)), "key", at(0))


def test_unlimited():
    """Without a rate nothing is counted."""
    budget = Budget("tries")
    for _ in range(100):
        budget.spend(None, "key", at(0))
        budget.check(None, "key", at(0))


def test_a_budget_keeps_few_keys_and_few_uses():
    """The key unused for longest is forgotten; more uses than the rate has are not kept."""
    budget = Budget("tries", bound=2)
    for key in ("a", "b", "a", "a", "a", "c"):
        budget.spend(RATE, key, at(0))
    budget.check(RATE, "b", at(1))
    with pytest.raises(RefusalError, match="2 in the last"):
        budget.check(RATE, "a", at(1))


def test_a_table_makes_room_by_what_has_expired():
    """Live records are never dropped; when they fill the table, more are refused."""
    table = Table("records", lambda record, now: record <= now)
    for number in range(3):
        table.put(number, at(number))
    table.make_room(1, 3, at(0))
    assert list(table) == [at(1), at(2)]
    table.put(3, at(3))
    with pytest.raises(RefusalError, match="no more than 3 records") as caught:
        table.make_room(1, 3, at(0))
    assert caught.value.problem.status == 503
    assert len(table) == 3


def test_nonces_are_bounded_and_used_once():
    """The oldest of too many is forgotten; a used one is refused."""
    nonces = Nonces(Random(1), bound=2)
    oldest, used, _ = (nonces.fresh() for _ in range(3))
    nonces.use(used, 0)
    for bad in (oldest, used, None, 7, "made-up"):
        with pytest.raises(RefusalError) as caught:
            nonces.use(bad, 0)
        assert caught.value.problem.code == "badNonce"


def test_good_nonces_are_rejected_for_practice():
    """About the share that is asked for, as chance has it."""
    nonces = Nonces(Random(1))
    rejected = 0
    for _ in range(1000):
        try:
            nonces.use(nonces.fresh(), 0.5)
        except RefusalError:
            rejected += 1
    assert 400 < rejected < 600
