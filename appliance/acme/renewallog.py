"""What the log says of one site's renewal. The logger is the caller's."""

from __future__ import annotations

from twisted.logger import Logger

from appliance.acme.decision import Action
from appliance.acme.plan import Plan
from appliance.acme.state import RenewalState
from appliance.tls.certificate import Certificate


def say_what_is_ordered(log: Logger, site: str, plan: Plan, reason: str) -> None:
    """An attempt begins, or goes on with an order of before."""
    if plan.unfinished is not None:
        text = "{site}: goes on with its order for {names} at {authority}: {reason}"
    else:
        text = "{site}: orders a certificate for {names} from {authority}: {reason}"
    log.info(text, site=site, names=", ".join(plan.names), authority=plan.authority, reason=reason)


def say_what_failed(log: Logger, site: str, plan: Plan, state: RenewalState, meanwhile: str) -> None:
    """An attempt brought nothing: why, and what follows from it, as ``state`` has it."""
    again = state.next_attempt
    what = "tried again at {at:%Y-%m-%d %H:%M:%S} UTC" if again is not None else "tried again at once"
    if again is None and state.losses:
        what = "the other names go on without; these are tried again later"
    log.error(
        "{site}: no certificate for {names} from {authority}: {problem}; " + what + " ({failures} in a row failed);"
        " until then {meanwhile}",
        site=site,
        names=", ".join(plan.names),
        authority=plan.authority,
        problem=state.problem,
        at=again,
        failures=state.failures,
        meanwhile=meanwhile,
    )


def say_why_there_is_none(log: Logger, site: str, wait: Action) -> None:
    """A new process has nothing to serve, and what is remembered of its predecessor keeps it from ordering now."""
    log.warn(
        "{site}: cannot be reached over TLS until {at:%Y-%m-%d %H:%M:%S} UTC at the earliest: {reason}; to try now:"
        " appliance renew {site}",
        site=site,
        at=wait.at,
        reason=wait.reason,
    )


def say_that_the_clock_is_slow(log: Logger, site: str, certificate: Certificate, meanwhile: str) -> None:
    """A new certificate's time is still to come."""
    log.critical(
        "{site}: THIS MACHINE'S CLOCK IS WRONG: the new certificate is not valid before {begin:%Y-%m-%d %H:%M:%S}"
        " UTC, and CAs do not issue in advance. It is served from then on; until then {meanwhile}",
        site=site,
        begin=certificate.not_before,
        meanwhile=meanwhile,
    )
