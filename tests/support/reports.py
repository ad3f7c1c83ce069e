"""What the renewal service tells of sites, made up: for what shows, counts or alarms on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from attrs import field, frozen

from appliance.acme.decision import Action, Step
from appliance.acme.progress import Moment
from appliance.acme.state import RenewalState
from appliance.tls.certificate import Certificate

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


LATER = Action(Step.WAIT, NOW + timedelta(days=60), "a third of its life is left then")


@frozen
class MadeReport:
    """As ``sitereport.SiteReport``."""

    site: str = "one.test"
    names: tuple[str, ...] = ("one.test", "www.one.test")
    serving: Certificate | None = None
    saved: bool = True
    state: RenewalState = field(factory=RenewalState)
    next_step: Action = LATER
    alarm: str = ""
    progress: tuple[Moment, ...] = ()
