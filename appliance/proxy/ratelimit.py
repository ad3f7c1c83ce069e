"""How many requests a client may send: a bucket of tokens for each, kept as the one time when it will be full again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from appliance.config.site import RateLimit

MOST_CLIENTS = 16 * 1024
"""So many are known, of one limit; those that have been quiet for the longest are forgotten. Some 3 MiB."""


class Limiter:
    """The buckets of one limit.

    A bucket holds ``burst`` tokens and gains ``requests`` of them ``per`` seconds; a request takes one. That is the
    same as the generic cell rate algorithm, whose state is a number: when the bucket will be full.
    """

    def __init__(self, limit: RateLimit, seconds: Callable[[], float], most: int = MOST_CLIENTS) -> None:
        """``seconds`` is the monotonic clock."""
        self.limit = limit
        self._seconds = seconds
        self._most = most
        self._cost = limit.per / limit.requests
        self._room = self._cost * ((limit.burst or limit.requests) - 1)
        self._full: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many clients are known."""
        return len(self._full)

    def take(self, client: str) -> float:
        """Take a token: 0, or if there is none, the seconds until there will be. Refused requests cost nothing."""
        now = self._seconds()
        full = max(self._full.get(client, now), now)
        wait = full - now - self._room
        if wait > 1e-9:  # of the sums, not of time
            return wait
        self._full[client] = full + self._cost
        self._full.move_to_end(client)
        if len(self._full) > self._most:
            self._full.popitem(last=False)
        return 0.0
