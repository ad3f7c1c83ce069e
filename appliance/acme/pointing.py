"""Whether the names of a site that failed have begun to lead here: then it need not wait any longer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from attrs import frozen
from twisted.internet.defer import DeferredList
from twisted.internet.interfaces import IReactorTime

from appliance.acme.environment import Look
from appliance.acme.failure import VALIDATIONS
from appliance.acme.state import RenewalState

INTERVAL = 60.0
"""Seconds between two looks."""
PAUSE, LONGEST_PAUSE = 300.0, 86400.0
"""Seconds after which changes of the same kind may hasten another attempt: twice as many each time, up to a day."""
TIMEOUT = 20.0
MOST_NAMES = 10
"""Of a site, that are looked up each time."""


def failed_names(state: RenewalState, names: tuple[str, ...]) -> tuple[str, ...]:
    """What the DNS may be the trouble of: lost names; all ``names`` of a site that failed as a whole."""
    if state.losses:
        return tuple(loss.name for loss in state.losses if loss.problem.code in VALIDATIONS)
    document = state.document
    return names if state.failures and document is not None and document.code in VALIDATIONS else ()


class Change(Enum):
    """What may have become better about where a name leads."""

    HERE = "now leads here"
    """It has an address of this machine's own."""
    ELSEWHERE = "leads elsewhere than before"
    """Behind a router the machine does not know its address in the world: this could be it."""


def change(before: frozenset[str] | None, after: frozenset[str], own: frozenset[str]) -> Change | None:
    """Whether a name's addresses changed for the better. The first look (``before`` is None) says nothing."""
    if before is None or not after or after == before:
        return None
    if after & own:
        return Change.HERE
    return Change.ELSEWHERE if not before & own else None


@frozen
class _Quiet:
    """How long changes of one kind hasten nothing."""

    until: float = float("-inf")
    following: float = PAUSE
    """Seconds, for the next time."""

    def again(self, now: float) -> _Quiet:
        return _Quiet(now + self.following, min(2 * self.following, LONGEST_PAUSE))


class Pointing:
    """One site's names, and where they led when last looked at.

    A name in front of which somebody balances load changes its addresses for ever, with every answer perhaps. So either
    kind of change hastens attempts ever more rarely, until one succeeds; and neither waits for the other.
    """

    def __init__(self, clock: IReactorTime, look: Look, own: Callable[[], frozenset[str]]) -> None:
        self._clock = clock
        self._look = look
        self._own = own
        self._seen: dict[str, frozenset[str]] = {}
        self._quiet: dict[Change, _Quiet] = {}

    async def changed(self, names: Iterable[str]) -> dict[str, Change]:
        """Look ``names`` up; those that are worth a try since the last one that was."""
        names = [name.removeprefix("*.") for name in names][:MOST_NAMES]
        lookups = [self._look(name).addTimeout(TIMEOUT, self._clock) for name in names]
        found = await DeferredList(lookups, consumeErrors=True)
        own, now = self._own(), self._clock.seconds()
        better: dict[str, Change] = {}
        for name, (succeeded, addresses) in zip(names, found, strict=True):
            if not succeeded:
                continue  # no answer says nothing
            kind = change(self._seen.get(name), addresses, own)
            if kind is not None:
                if now < self._quiet.get(kind, _Quiet()).until:
                    continue  # if it stays so, its time will come
                better[name] = kind
            self._seen[name] = addresses
        for kind in set(better.values()):
            self._quiet[kind] = self._quiet.get(kind, _Quiet()).again(now)
        return better

    def succeeded(self, entirely: bool) -> None:
        """There is a certificate; if it has all names, the next failure begins with a fresh first look."""
        self._quiet.clear()
        if entirely:
            self._seen.clear()
