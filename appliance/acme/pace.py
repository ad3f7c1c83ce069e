"""When each of many sites does what all of them are to do from the start on: a few at once, the others after them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta


class Pace:
    """Hands out moments: so many at once, and then one each ``interval``. After a rest some may be at once again."""

    def __init__(self, now: Callable[[], datetime], at_once: int, interval: timedelta) -> None:
        self._now = now
        self._interval = interval
        self._head_start = at_once * interval
        self._last: datetime | None = None

    def slot(self) -> datetime:
        """The next moment; not in the past."""
        now = self._now()
        earliest = now - self._head_start
        if self._last is None or not earliest <= self._last <= now + timedelta(days=1):  # the clock was set
            self._last = earliest
        self._last += self._interval
        return max(now, self._last)
