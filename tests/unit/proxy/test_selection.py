"""How requests are spread over addresses."""

from __future__ import annotations

from collections import Counter
from itertools import cycle

import pytest
from attrs import define

from appliance.proxy.selection import Balance, ClientHash, LeastConnections, RandomTwo, RoundRobin, balance_named


@define
class Address:
    """An address with so many requests under way."""

    key: str
    weight: int = 1
    busy: int = 0


def chosen(balance: Balance[Address], addresses: list[Address], times: int, client: str = "") -> str:
    """The keys chosen, one after the other."""
    return "".join(balance.choose(addresses, client).key for _ in range(times))


def test_round_robin() -> None:
    """Each in its turn."""
    assert chosen(RoundRobin(), [Address("a"), Address("b"), Address("c")], 7) == "abcabca"


def test_round_robin_by_weight() -> None:
    """Heavier ones more often, and not in a row where that can be avoided."""
    assert chosen(RoundRobin(), [Address("a", 5), Address("b"), Address("c")], 14) == "aabacaa" * 2


def test_round_robin_with_one_missing() -> None:
    """The others share what it would get; back again, it gets its share and no more."""
    balance: RoundRobin[Address] = RoundRobin()
    a, _, c = addresses = [Address("a"), Address("b", 2), Address("c")]
    chosen(balance, addresses, 3)
    assert Counter(chosen(balance, [a, c], 100)) == {"a": 50, "c": 50}
    counts = Counter(chosen(balance, addresses, 40))
    assert abs(counts["b"] - 20) <= 2


def test_least_connections() -> None:
    """The least busy for its weight; equals take turns."""
    _, b, c = addresses = [Address("a", busy=2), Address("b", 4, busy=4), Address("c", busy=3)]
    assert chosen(LeastConnections(), addresses, 2) == "bb"
    b.busy = 8
    assert chosen(LeastConnections(), addresses, 4) in ("abab", "baba", "bbab", "babb", "abbb", "bbba")
    assert "c" not in chosen(LeastConnections(), addresses, 10)
    assert chosen(LeastConnections(), [c], 2) == "cc"


def test_random_two() -> None:
    """Of two drawn, the less busy; of one, that one."""
    addresses = [Address("a", busy=5), Address("b", busy=1), Address("c", busy=3)]
    drawn = cycle([0.0, 0.0])  # a, then b
    assert chosen(RandomTwo(lambda: next(drawn)), addresses, 1) == "b"
    drawn = cycle([0.5, 0.99])  # b, then c
    assert chosen(RandomTwo(lambda: next(drawn)), addresses, 1) == "b"
    drawn = cycle([0.99, 0.0])  # c, then a
    assert chosen(RandomTwo(lambda: next(drawn)), addresses, 1) == "c"
    assert chosen(RandomTwo(lambda: 0.0), addresses[:1], 2) == "aa"


def test_random_two_by_weight() -> None:
    """A heavy one is drawn more often."""
    first = RandomTwo(iter([0.3, 0.0, 0.7, 0.0]).__next__)
    assert chosen(first, [Address("a", 1), Address("b", 3)], 2) == "bb"


CLIENTS = [f"192.0.2.{number}" for number in range(250)]


def homes(addresses: list[Address]) -> dict[str, str]:
    """Where each client goes."""
    balance: ClientHash[Address] = ClientHash()
    return {client: balance.choose(addresses, client).key for client in CLIENTS}


def test_client_hash_is_the_same_each_time() -> None:
    """Whatever the order, and in another process too."""
    addresses = [Address("http://a:1"), Address("http://b:1"), Address("http://c:1")]
    assert homes(addresses) == homes(addresses[::-1])
    assert homes(addresses)["192.0.2.1"] == "http://b:1"


def test_client_hash_moves_only_who_must() -> None:
    """Clients of an address that is out spread over the others; nobody else moves."""
    addresses = [Address(key) for key in "abcd"]
    before, after = homes(addresses), homes(addresses[:3])
    moved = [client for client in CLIENTS if before[client] != after[client]]
    assert moved == [client for client in CLIENTS if before[client] == "d"]
    assert len({after[client] for client in moved}) == 3


def test_client_hash_by_weight() -> None:
    """A heavier one has more clients."""
    counts = Counter(homes([Address("a", 3), Address("b", 1)]).values())
    assert 0.65 < counts["a"] / len(CLIENTS) < 0.85


def test_names() -> None:
    """As in the configuration."""
    kinds = {"round_robin": RoundRobin, "least_connections": LeastConnections}
    kinds |= {"random_two": RandomTwo, "client_hash": ClientHash}
    for name, kind in kinds.items():
        assert isinstance(balance_named(name, lambda: 0.0), kind)
    with pytest.raises(KeyError):
        balance_named("fastest", lambda: 0.0)
