"""Whether the names of a site that failed have begun to lead here: then it need not wait any longer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import DeferredList
from twisted.internet.interfaces import IReactorTime

from appliance.acme.environment import Look
from appliance.acme.failure import VALIDATIONS
from appliance.acme.state import RenewalState

INTERVAL = 60.0
"""Seconds between two looks."""
PAUSE = 300.0
"""Seconds after which names whose addresses keep changing may hasten another attempt."""
TIMEOUT = 20.0
MOST_NAMES = 10
"""Of a site, that are looked up each time."""


def failed_names(state: RenewalState, names: tuple[str, ...]) -> tuple[str, ...]:
    """What the DNS may be the trouble of: lost names; all ``names`` of a site that failed as a whole."""
    if state.losses:
        return tuple(loss.name for loss in state.losses if loss.problem.code in VALIDATIONS)
    document = state.document
    return names if state.failures and document is not None and document.code in VALIDATIONS else ()


def leads_here(before: frozenset[str] | None, after: frozenset[str], own: frozenset[str]) -> bool:
    """
    Whether a name's addresses changed for the better.

    They did if they now have one of this machine's own. Behind a router, where the machine does not know the address
    that the world sees, any change to other addresses is worth a try. The first look (``before`` is None) says nothing.
    """
    if before is None or not after or after == before:
        return False
    return bool(after & own) or not before & own


class Pointing:
    """One site's names, and where they led when last looked at."""

    def __init__(self, clock: IReactorTime, look: Look, own: Callable[[], frozenset[str]]) -> None:
        self._clock = clock
        self._look = look
        self._own = own
        self._seen: dict[str, frozenset[str]] = {}
        self._quiet_until = float("-inf")

    async def changed(self, names: Iterable[str]) -> tuple[str, ...]:
        """Look ``names`` up; those that have begun to lead here since the last look."""
        names = [name.removeprefix("*.") for name in names][:MOST_NAMES]
        lookups = [self._look(name).addTimeout(TIMEOUT, self._clock) for name in names]
        found = await DeferredList(lookups, consumeErrors=True)
        own, better = self._own(), []
        for name, (succeeded, addresses) in zip(names, found, strict=True):
            if not succeeded:
                continue  # no answer says nothing
            if leads_here(self._seen.get(name), addresses, own):
                better.append(name)
            self._seen[name] = addresses
        if not better or self._clock.seconds() < self._quiet_until:
            return ()
        self._quiet_until = self._clock.seconds() + PAUSE
        return tuple(better)

    def forget(self) -> None:
        """All is well: the next failure begins with a fresh first look."""
        self._seen.clear()
