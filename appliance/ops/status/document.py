"""Where every site stands, as a document of plain values: what ``status --json`` prints and the status page shows.

Times are ISO 8601 in UTC; what is not known is null. Keys are only ever added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from attrs import asdict, field, frozen

from appliance import __version__
from appliance.acme.decision import Action
from appliance.acme.order import advice
from appliance.acme.progress import Moment
from appliance.acme.state import RenewalState
from appliance.errors import Problem
from appliance.tls.certificate import Certificate

VERSION = 1
"""Of the document."""

Document = dict[str, Any]


class Report(Protocol):
    """What is told of a site: ``sitereport.SiteReport``."""

    @property
    def site(self) -> str:
        """The site's name."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the site is asked for by."""

    @property
    def serving(self) -> Certificate | None:
        """What handshakes get."""

    @property
    def saved(self) -> bool:
        """False while the newest certificate could not be written."""

    @property
    def state(self) -> RenewalState:
        """What is remembered."""

    @property
    def next_step(self) -> Action:
        """What is done next, when, and why."""

    @property
    def alarm(self) -> str:
        """What somebody should look at now; empty if all is well."""

    @property
    def progress(self) -> tuple[Moment, ...]:
        """The steps of the latest attempt of this process."""


@frozen
class Address:
    """One address behind a site."""

    path: str
    """The route's."""
    address: str
    state: str | None = None
    """``in`` or ``out``, as its answers have shown; None where nothing is known."""
    reason: str = ""
    """Why it is out."""
    open: int | None = None
    """Connections to it."""
    traffic: Document | None = None
    """See ``metrics.traffic.Traffic.address``; None where nothing is counted."""


@frozen
class AfterSwap:
    """What became of a site's certificate after it went into service."""

    checked: datetime | None = None
    """When a handshake last looked at what is really served."""
    served: str | None = None
    """The serial number that it saw, in hexadecimal."""
    way: str = ""
    """How it looked: the address it connected to, or "in memory"."""
    problem: str = ""
    """What was wrong with it; empty when the wire shows what the store has."""
    export: str = ""
    """What is wrong with the site's export or deploy hook; empty when nothing is."""


@frozen
class Extra:
    """What other parts know of a site."""

    upstreams: Sequence[Address] = ()
    after_swap: AfterSwap = field(factory=AfterSwap)
    alarm: str = ""
    """What is worth an alarm; empty if nothing is."""
    traffic: Document | None = None
    """See ``metrics.traffic.Traffic.site``; None where nothing is counted."""
    maintenance: bool = False
    """Whether its requests are answered with 503."""


def document(
    reports: Iterable[Report],
    now: datetime,
    *,
    running: bool,
    extras: Mapping[str, Extra] | None = None,
    **more: object,
) -> Document:
    """The whole. ``more`` is put beside ``sites``: the process, the folder."""
    extras = extras or {}
    sites = [site(report, extras.get(report.site, Extra()), running) for report in reports]
    return {
        "version": VERSION,
        "software": __version__,
        "running": running,
        "now": _time(now),
        **more,
        "sites": sites,
    }


def site(report: Report, extra: Extra, running: bool = True) -> Document:
    """One site."""
    state = report.state
    serving = report.serving
    return {
        "site": report.site,
        "names": list(report.names),
        "certificate": certificate(serving) if serving is not None else None,
        "covered": [name for name in report.names if serving is not None and serving.covers(name)],
        "saved": report.saved,
        "next": {
            "step": report.next_step.step.value,
            "at": _time(report.next_step.at),
            "reason": report.next_step.reason,
        },
        "failures": state.failures,
        "last_attempt": _time(state.last_attempt),
        "last_success": _time(state.last_success),
        "issuer": state.authority,
        "problem": problem(state),
        "alarm": extra.alarm or report.alarm,
        "history": [
            {"at": _time(each.at), "names": list(each.names), "authority": each.authority, "outcome": each.outcome}
            for each in state.history
        ],
        "upstreams": [asdict(upstream) for upstream in extra.upstreams],
        "traffic": extra.traffic,
        "maintenance": extra.maintenance,
        "wire": {
            "checked": _time(extra.after_swap.checked),
            "serial": extra.after_swap.served,
            "way": extra.after_swap.way,
            "problem": extra.after_swap.problem,
        },
        "export": extra.after_swap.export,
        "under_way": running and state.running,
        "progress": [{"at": _time(moment.at), "step": moment.step} for moment in report.progress],
    }


def certificate(certificate: Certificate) -> Document:
    """What a certificate says of itself."""
    return {
        "serial": f"{certificate.serial:x}",
        "issuer": certificate.issuer,
        "names": sorted(certificate.names),
        "not_before": _time(certificate.not_before),
        "not_after": _time(certificate.not_after),
    }


def problem(state: RenewalState) -> Document | None:
    """What went wrong last: as it was said, and in the CA's own words with what to do about them, name by name."""
    if not state.problem and not state.losses:
        return None
    told = _told(state.names[0] if state.names else "", state.document) if state.document is not None else None
    losses = [
        _told(loss.name, loss.problem) | {"name": loss.name, "next_attempt": _time(loss.next_attempt)}
        for loss in state.losses
    ]
    return {"message": state.problem, "ca": told, "names": losses}


def _told(name: str, found: Problem) -> Document:
    """The CA's words, and ours."""
    return {"code": found.code, "detail": found.detail, "advice": advice(found, name)}


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
