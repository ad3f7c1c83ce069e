"""What an upstream's address has shown of itself in answering: a pure state, told of failures and of the time.

IN ──failures within the window──▶ OUT ──cool-down over──▶ TRIAL ──answered──▶ IN
                                    ▲                        │
                                    └────────failed──────────┘
"""

from __future__ import annotations

from typing import Final

IN: Final = "in"
OUT: Final = "out"
TRIAL: Final = "trial"


class Health:
    """One address's. Times are seconds of a monotonic clock; a connection refused is no matter of this."""

    __slots__ = ("_allowed", "_failures", "_window", "state")

    def __init__(self, allowed: int, window: float) -> None:
        """``allowed`` failures within ``window`` seconds put it out; 0: never."""
        self._allowed = allowed
        self._window = window
        self._failures: list[float] = []  # most addresses have none
        self.state = IN

    def failed(self, now: float, last: bool) -> bool:
        """A request failed for the address's own fault; whether that put it out. The ``last`` one stays in."""
        if self.state == OUT or not self._allowed:
            return False
        self._failures.append(now)
        del self._failures[: -self._allowed]
        if last:
            return False
        if self.state == IN and (len(self._failures) < self._allowed or now - self._failures[0] > self._window):
            return False
        self.state = OUT
        return True

    def cooled(self) -> None:
        """The cool-down is over: the next request is its trial."""
        if self.state == OUT:
            self.state = TRIAL

    def answered(self) -> bool:
        """It answered a request; whether that took it back in."""
        if self.state != TRIAL:
            return False
        self.state = IN
        self._failures.clear()
        return True
