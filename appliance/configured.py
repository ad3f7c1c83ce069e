"""The configuration that the running service has, and the way to another one while it runs.

What can fail is done first and changes nothing that anybody would notice: files are read, what is new is made, the
store is looked into, new listeners are opened. Then everything is put in place within one turn of the reactor. What is
the same in both configurations stays the same object all the while.
"""

from __future__ import annotations

from attrs import frozen

from appliance.acme.issuers import Authorities, Issuers
from appliance.acme.renewal import RenewalService
from appliance.config import Configuration
from appliance.config.difference import Difference, compare
from appliance.dataplane import DataPlane
from appliance.errors import ApplianceError, RestartNeededError
from appliance.ops.operating import Operating
from appliance.workers.crew import Crew


@frozen(eq=False)
class Parts:
    """Everything that a configuration says something about."""

    plane: DataPlane
    issuers: Issuers
    operating: Operating
    renewal: RenewalService
    crew: Crew


class Configured:
    """The one owner of the current configuration."""

    def __init__(self, current: Configuration, parts: Parts) -> None:
        """``parts`` are as ``current`` says."""
        self.current = current
        self._parts = parts

    async def change(self, wanted: Configuration) -> Difference:
        """
        Have another configuration; one such call at a time. Returns what was different, when all of it is in place.

        Raises ApplianceError when it cannot be had; then everything is as before. RestartNeededError names the keys
        that cannot be changed.
        """
        difference = compare(self.current, wanted)
        if difference.refused:
            raise RestartNeededError(difference.refused)
        parts, before = self._parts, self.current
        authorities = parts.issuers.prepare(wanted)
        stored = await parts.renewal.look(wanted.sites)
        if not parts.renewal.running:
            raise ApplianceError("the appliance is stopping")
        prepared = parts.plane.prepare(wanted)
        self.current = wanted
        self._use_authorities(wanted, "acme" in difference.settings, authorities)
        parts.plane.apply(before, wanted, prepared)
        parts.operating.apply(wanted)
        told = parts.crew.change(wanted)
        await parts.renewal.replace_sites(wanted.sites, stored)
        await told
        for site in wanted.sites:
            if site.name in difference.passed_on:
                parts.operating.installer.pass_on(site.name, site.names)
        return difference

    def _use_authorities(self, wanted: Configuration, changed: bool, authorities: Authorities) -> None:
        """Orders that have failed are tried again only where something about the CAs has changed."""
        parts, acme = self._parts, wanted.acme
        changed = changed or authorities.issuers != parts.issuers.current
        parts.issuers.apply(authorities)
        if changed:
            parts.renewal.replace_authorities(
                authorities.issuers, authorities.rehearsal, acme.key_type, acme.max_orders
            )
