"""What the commands do in the running service: each is a function from its arguments to a document of plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from appliance.errors import ApplianceError
from appliance.ops.control import Arguments, Command, flag, text
from appliance.ops.probe import Probes
from appliance.ops.status import Document, Extra, Report, document


class Renewals(Protocol):
    """``renewal.RenewalService``, as far as the commands know it."""

    def report(self) -> Sequence[Report]:
        """Where every site stands; empty until the store could be read."""

    async def renew(self, site: str, force: bool = False) -> Report:
        """Try to renew now; where the site stands after it. Raises ApplianceError if there is nothing to try."""

    async def rollback(self, site: str) -> Report:
        """Go back to the previous certificate. Raises ApplianceError if there is none that would do."""


class Operations:
    """The running service, as the commands see it."""

    def __init__(
        self,
        renewals: Renewals,
        now: Callable[[], datetime],
        state_dir: Path,
        extra: Callable[[Report], Extra],
        probes: Probes,
        traffic: Callable[[], Document | None] = lambda: None,
        configuration: Callable[[], Document | None] = lambda: None,
    ) -> None:
        """``extra`` gives what else is known of a site, ``traffic`` what of all together.

        ``configuration`` is ``Reloading.document``.
        """
        self._renewals = renewals
        self._now = now
        self._state_dir = state_dir
        self._extra = extra
        self._probes = probes
        self._traffic = traffic
        self._configuration = configuration
        self._started = now()

    def commands(self) -> Mapping[str, Command]:
        """By name."""
        return {
            "status": Command(lambda _: self.status(), acts=False),
            "renew": Command(self._renew),
            "rollback": Command(self._rollback),
            "probe": Command(lambda _: self._probes.present()),
        }

    def status(self) -> Document:
        """See ``status.document``."""
        reports = self._renewals.report()
        return document(
            reports,
            self._now(),
            running=True,
            extras={report.site: self._extra(report) for report in reports},
            pid=os.getpid(),
            started=self._started.isoformat(),
            state_dir=str(self._state_dir),
            traffic=self._traffic(),
            configuration=self._configuration(),
        )

    async def _renew(self, arguments: Arguments) -> Document:
        site = self._site(text(arguments, "site"))
        await self._renewals.renew(site, flag(arguments, "force"))
        return self._told(site)

    async def _rollback(self, arguments: Arguments) -> Document:
        site = self._site(text(arguments, "site"))
        await self._renewals.rollback(site)
        return self._told(site)

    def _told(self, site: str) -> Document:
        return {"site": next(each for each in self.status()["sites"] if each["site"] == site)}

    def _site(self, name: str) -> str:
        """The site called so, or that has this name. Raises ApplianceError."""
        reports = self._renewals.report()
        for report in reports:
            if report.site == name:
                return report.site
        for report in reports:
            if name in report.names:
                return report.site
        known = ", ".join(report.site for report in reports) or "none yet: the store is still being read"
        raise ApplianceError(f"{name} is no site of this appliance; its sites are {known}")
