"""Where the sites' certificates stand, looked at a few at a time: an answer costs the same however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import Protocol

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from appliance.acme.decision import Step
from appliance.ops.status.document import Report

AT_ONCE = 50
"""So many sites are looked at in one turn; where there are no more, they are whenever somebody asks."""
INTERVAL = 1.0
"""Seconds from one turn to the next."""


class Renewals(Protocol):
    """`acme.renewal.RenewalService`, as far as it is asked."""

    def reports(self) -> Iterator[Report]:
        """Where every site stands, one after the other, each as it is when its turn comes."""


@frozen
class SiteFigures:
    """One site."""

    site: str
    not_after: datetime | None
    """When what is served ends; None if nothing is."""
    next_attempt: datetime | None
    """When it is renewed or tried next; None if that is under way or due."""
    failures: int
    """Attempts in a row that brought no certificate."""


class Survey(Service):
    """Goes round the sites for as long as it runs. ``figures`` is what it knows, by site."""

    def __init__(self, clock: IReactorTime, now: Callable[[], datetime]) -> None:
        self._started = now()
        self._reports: Callable[[], Iterator[Report]] = lambda: iter(())
        self._round: Iterator[Report] = iter(())
        self._seen: dict[str, SiteFigures] = {}
        self._counted: dict[str, datetime] = {}
        """Of each site, the end of the last attempt that was counted."""
        self._loop = LoopingCall(self._turn)
        self._loop.clock = clock
        self.figures: dict[str, SiteFigures] = {}
        self.issued = 0
        """Attempts that brought a certificate."""
        self.failed = 0
        """Attempts that did not."""

    def attach(self, renewals: Renewals) -> None:
        """Whom to ask from now on."""
        self._reports = renewals.reports

    def startService(self) -> None:
        """Begin."""
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(INTERVAL, now=False)

    def stopService(self) -> None:
        """Stop."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()

    def refresh(self) -> None:
        """Look at all sites now, if they are few."""
        if len(self.figures) <= AT_ONCE:
            self._round = self._reports()
            self._seen = {}
            self._turn()

    def _turn(self) -> None:
        looked_at = 0
        for report in islice(self._round, AT_ONCE):
            looked_at += 1
            self._look(report)
        if looked_at < AT_ONCE:
            self.figures, self._seen = self._seen, {}
            self._counted = {site: when for site, when in self._counted.items() if site in self.figures}
            self._round = self._reports()
        else:
            self.figures.update(self._seen)

    def _look(self, report: Report) -> None:
        serving, step = report.serving, report.next_step
        self._seen[report.site] = SiteFigures(
            report.site,
            serving.not_after if serving is not None else None,
            step.at if step.step is Step.WAIT else None,
            report.state.failures - report.state.running,  # which counts an attempt as it begins
        )
        counted = self._counted.get(report.site, self._started)
        for attempt in report.state.history:
            if attempt.at > counted:
                counted = attempt.at
                if attempt.outcome:
                    self.failed += 1
                else:
                    self.issued += 1
        self._counted[report.site] = counted
