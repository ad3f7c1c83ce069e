"""How far an attempt at a certificate is, for those who wait for it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import frozen

MOST = 40
"""Steps that are kept: those of the latest attempt, the newest ones if they are more."""

Tell = Callable[[str], object]
"""Is told of each step when it begins, in words."""


def tell_nobody(step: str) -> None:
    """Where nobody waits."""


@frozen
class Moment:
    """One step."""

    at: datetime
    step: str


class Progress:
    """The steps of one site's latest attempt, as they happen. Forgotten with the process."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._moments: list[Moment] = []  # most sites have none for months

    @property
    def moments(self) -> tuple[Moment, ...]:
        """So far, the newest one last."""
        return tuple(self._moments)

    def begin(self, step: str) -> None:
        """The first step of a new attempt."""
        self._moments.clear()
        self.tell(step)

    def tell(self, step: str) -> None:
        """See Tell."""
        self._moments.append(Moment(self._now(), step))
        del self._moments[:-MOST]
