"""What the commands do in the running service: each is a function from its arguments to a document of plain values."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import succeed

from appliance.errors import ApplianceError
from appliance.ops.control.server import Arguments, Command, flag, text
from appliance.ops.diagnosis.probe import Probes
from appliance.ops.status.document import Document, Extra, Report, document, site

AT_ONCE = 50
"""So many sites are told of in one turn."""


class Renewals(Protocol):
    """``renewal.RenewalService``, as far as the commands know it."""

    def report(self) -> Sequence[Report]:
        """Where every site stands; empty until the store could be read."""

    def reports(self) -> Iterator[Report]:
        """The same, each made when it is asked for."""

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
        workers: Callable[[], Document | None] = lambda: None,
        pause: Callable[[], Awaitable[object]] = lambda: succeed(None),
    ) -> None:
        """``extra`` gives what else is known of a site, ``traffic`` what of all together.

        ``configuration`` is ``Reloading.document`` and ``workers`` ``Crew.document``; ``pause`` lets others have their
        turn.
        """
        self._renewals = renewals
        self._now = now
        self._state_dir = state_dir
        self._extra = extra
        self._probes = probes
        self._traffic = traffic
        self._configuration = configuration
        self._workers = workers
        self._pause = pause
        self._started = now()

    def commands(self) -> Mapping[str, Command]:
        """By name."""
        return {
            "status": Command(lambda _: self._status(), acts=False),
            "renew": Command(self._renew),
            "rollback": Command(self._rollback),
            "probe": Command(lambda _: self._probes.present()),
        }

    def status(self) -> Document:
        """See ``status.document.document``."""
        return self._around([site(report, self._extra(report)) for report in self._renewals.reports()])

    async def _status(self) -> Document:
        """The same, a few sites at a time: nobody waits for thousands to be looked at."""
        sites: list[Document] = []
        for report in self._renewals.reports():
            sites.append(site(report, self._extra(report)))
            if not len(sites) % AT_ONCE:
                await self._pause()
        return self._around(sites)

    def _around(self, sites: Sequence[Document]) -> Document:
        about = document(
            (),
            self._now(),
            running=True,
            pid=os.getpid(),
            started=self._started.isoformat(),
            state_dir=str(self._state_dir),
            traffic=self._traffic(),
            configuration=self._configuration(),
        )
        workers = self._workers()
        if workers is not None:
            about["workers"] = workers
        return about | {"sites": sites}

    async def _renew(self, arguments: Arguments) -> Document:
        name = self._site(text(arguments, "site"))
        return self._told(await self._renewals.renew(name, flag(arguments, "force")))

    async def _rollback(self, arguments: Arguments) -> Document:
        name = self._site(text(arguments, "site"))
        return self._told(await self._renewals.rollback(name))

    def _told(self, report: Report) -> Document:
        return {"site": site(report, self._extra(report))}

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
