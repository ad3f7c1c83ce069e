"""Where one site stands, in one value: for the status page, the metrics and the alarms. Pure."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from appliance.acme.decision import Action, suggestion_for
from appliance.acme.progress import Moment
from appliance.acme.schedule import is_expiring
from appliance.acme.state import RenewalState
from appliance.tls.certificate import Certificate


@frozen
class SiteReport:
    """Where a site stands: for the status page, the metrics and the log."""

    site: str
    names: tuple[str, ...]
    serving: Certificate | None
    """What handshakes get now."""
    saved: bool
    """False while the newest certificate could not be written."""
    state: RenewalState
    next_step: Action
    lost: tuple[str, ...] = ()
    """Names that the certificate in service lacks because they could not be validated."""
    alarm: str = ""
    """What somebody should look at now; empty if all is well."""
    progress: tuple[Moment, ...] = ()
    """The steps of the latest attempt of this process."""


def alarm(serving: Certificate | None, state: RenewalState, now: datetime) -> str:
    """What somebody should look at now; empty if all is well."""
    suggestion = suggestion_for(serving, state)
    if serving is not None and is_expiring(serving.not_before, serving.not_after, now):
        return f"the certificate ends at {serving.not_after:%Y-%m-%d %H:%M:%S} UTC: {state.problem}"
    if suggestion is not None and suggestion.overdue:
        return f"the CA wants the certificate replaced at once: {suggestion.explanation or 'it may be revoked'}"
    if state.losses:
        lost = ", ".join(loss.name for loss in state.losses)
        return f"the certificate lacks {lost}: {state.problem}"
    return ""
