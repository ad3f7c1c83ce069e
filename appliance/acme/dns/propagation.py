"""Waiting until a record is where the CA will look for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from appliance.acme.dns.lookup import Sight, Sighting
from appliance.errors import ResponderError

log = Logger()

FIRST_PAUSE = 0.5
"""Seconds between two looks; each time half as long again, up to the longest."""
LONGEST_PAUSE = 10.0

SILENT_TIME = 20.0
"""Seconds after which servers that do not answer are no longer waited for: that may be this machine's own trouble."""


async def wait_until_seen(
    clock: IReactorTime, look: Callable[[], Awaitable[Sequence[Sighting]]], name: str, timeout: float
) -> None:
    """Return when every server that answers has the record ``name``; ``look`` asks them all.

    Servers that do not answer are given up after `SILENT_TIME`, which is logged: this is a precaution, and the CA
    has the last word. Raises `ResponderError` when a server still lacks it after ``timeout`` seconds.
    """
    began, pause = clock.seconds(), FIRST_PAUSE
    while True:
        sightings = await look()
        waited = clock.seconds() - began
        missing = _those(sightings, Sight.MISSING)
        silent = _those(sightings, Sight.SILENT)
        if not missing and (not silent or waited >= min(SILENT_TIME, timeout)):
            if silent:
                log.warn("{name}: {silent}; going on without", name=name, silent=_listed(silent))
            return
        if waited >= timeout:
            raise ResponderError(
                f"the TXT record {name} was published, but after {timeout:g} s {_listed(missing)}. The CA would not"
                " find it either. If that DNS service takes longer, raise propagation_timeout; if other servers are to"
                " be asked, set nameservers"
            )
        await deferLater(clock, min(pause, max(timeout - waited, 0)), lambda: None)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _those(sightings: Sequence[Sighting], sight: Sight) -> list[Sighting]:
    return [each for each in sightings if each.sight is sight]


def _listed(sightings: Sequence[Sighting]) -> str:
    return ", ".join(map(str, sightings))
