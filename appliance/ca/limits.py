"""Budgets over sliding windows: what was used when, and when there is room again."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from datetime import datetime, timedelta

from attrs import Factory, define

from appliance.ca.policy import Rate
from appliance.ca.problems import limited


@define
class Budget:
    """Uses per key (an account, a set of names …). Holds at most ``bound`` keys; the longest unused ones make room."""

    what: str
    """What is counted, for the refusal's words."""
    bound: int = 10_000
    _uses: dict[Hashable, deque[datetime]] = Factory(dict)

    def check(self, rate: Rate | None, key: Hashable, now: datetime) -> None:
        """Refuse with ``rateLimited`` and the seconds to wait if the key has no use left."""
        if rate is None:
            return
        uses = self._uses.get(key, deque())
        while uses and uses[0] <= now - rate.period:
            uses.popleft()
        if len(uses) >= rate.count:
            wait = uses[-rate.count] + rate.period - now if rate.count else rate.period
            raise limited(
                f"too many {self.what}: {len(uses)} in the last {rate.period}, {rate.count} are allowed; "
                f"retry after {(now + wait).isoformat(timespec='seconds')}",
                wait / timedelta(seconds=1),
            )

    def spend(self, rate: Rate | None, key: Hashable, now: datetime) -> None:
        """Count one use, if it is counted at all."""
        if rate is None:
            return
        uses = self._uses.pop(key, deque())
        uses.append(now)
        while len(uses) > rate.count:
            uses.popleft()
        self._uses[key] = uses
        if len(self._uses) > self.bound:
            del self._uses[next(iter(self._uses))]
