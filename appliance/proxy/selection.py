"""Which of an upstream's addresses gets a request. Pure: decided at once, from what the addresses say of themselves.

A balance is asked with the addresses that may be chosen, never none, and the client's address. It may be asked again
for the same request with fewer, after one of them has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import inf, log
from typing import Generic, Protocol, TypeVar


class Candidate(Protocol):
    """An address that may be chosen."""

    @property
    def key(self) -> str:
        """Its name, the same whenever the appliance runs."""

    @property
    def weight(self) -> int:
        """Its share of the requests, at least 1, beside the others'."""

    @property
    def busy(self) -> int:
        """How many requests it has under way."""


C = TypeVar("C", bound=Candidate)


class Balance(Protocol[C]):
    """How requests are spread."""

    def choose(self, candidates: Sequence[C], client: str) -> C:
        """One of ``candidates``."""


class RoundRobin(Generic[C]):
    """Each in its turn, heavier ones more often, their turns spread evenly (nginx's smooth weighted round robin)."""

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def choose(self, candidates: Sequence[C], client: str) -> C:
        """See Balance."""
        credit = self._credit
        best, most, total = candidates[0], -inf, 0
        for candidate in candidates:
            weight = candidate.weight
            total += weight
            has = credit[candidate.key] = credit.get(candidate.key, 0) + weight
            if has > most:
                best, most = candidate, has
        credit[best.key] -= total
        return best


class LeastConnections(Generic[C]):
    """The one with the fewest requests under way for its weight; among equals, each in its turn."""

    def __init__(self) -> None:
        self._turns: RoundRobin[C] = RoundRobin()

    def choose(self, candidates: Sequence[C], client: str) -> C:
        """See Balance."""
        least = min(candidate.busy / candidate.weight for candidate in candidates)
        equals = [candidate for candidate in candidates if candidate.busy / candidate.weight == least]
        return equals[0] if len(equals) == 1 else self._turns.choose(equals, client)


class RandomTwo(Generic[C]):
    """Two at random, by weight, and of them the less busy: as good as looking at all, without the herd."""

    def __init__(self, random: Callable[[], float]) -> None:
        """``random`` returns numbers from 0 to below 1."""
        self._random = random

    def choose(self, candidates: Sequence[C], client: str) -> C:
        """See Balance."""
        first = self._draw(candidates)
        others = [candidate for candidate in candidates if candidate is not first]
        if not others:
            return first
        second = self._draw(others)
        return second if second.busy / second.weight < first.busy / first.weight else first

    def _draw(self, candidates: Sequence[C]) -> C:
        left = self._random() * sum(candidate.weight for candidate in candidates)
        for candidate in candidates[:-1]:
            left -= candidate.weight
            if left < 0:
                return candidate
        return candidates[-1]


class ClientHash(Generic[C]):
    """The same client, the same address, for as long as it may be chosen; only its own clients move when it may not.

    Weighted rendezvous hashing: every address draws a number for the client, the best one wins.
    """

    def choose(self, candidates: Sequence[C], client: str) -> C:
        """See Balance."""
        return max(candidates, key=lambda candidate: _score(candidate, client))


def _score(candidate: Candidate, client: str) -> float:
    digest = blake2b(f"{client} {candidate.key}".encode(), digest_size=8).digest()
    chance = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)  # above 0, below 1
    return -candidate.weight / log(chance) if chance < 1 else inf


def balance_named(name: str, random: Callable[[], float]) -> Balance[C]:
    """A new balance by its name in the configuration; KeyError for another."""
    makers: dict[str, Callable[[], Balance[C]]] = {
        "round_robin": RoundRobin,
        "least_connections": LeastConnections,
        "random_two": lambda: RandomTwo(random),
        "client_hash": ClientHash,
    }
    return makers[name]()
