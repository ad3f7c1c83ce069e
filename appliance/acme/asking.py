"""Asking a CA when it would like to renew a certificate."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from appliance.acme.ari import Inquiry, Suggestion
from appliance.acme.environment import Environment, Issuing
from appliance.tls.certificate import Certificate

_log = Logger()


async def ask(
    site: str, env: Environment, issuer: Issuing, certificate: Certificate, before: Inquiry | None
) -> Inquiry:
    """
    What is known afterwards; ``before`` is what was known.

    Whatever goes wrong is logged, and no obstacle to renewing by age: nothing is raised while the service runs.
    """
    known = before or Inquiry(f"{certificate.serial:x}", env.now())
    try:
        told = await issuer.renewal_info(certificate)
    except CancelledError:
        raise
    except Exception as error:
        if not env.is_running():
            raise
        _log.warn(
            "{site}: {authority} does not say when to renew: {error}; by the certificate's age, then",
            site=site,
            authority=issuer.name,
            error=error,
        )
        return known.failed(env.now(), certificate.not_after - certificate.not_before, env.random)
    if told is None:
        return known.unknown(env.now(), env.random)
    inquiry = known.heard(*told, env.now(), env.random)
    if inquiry.suggestion is not None and inquiry.says_more_than(before):
        _say(site, inquiry.suggestion)
    return inquiry


def _say(site: str, suggestion: Suggestion) -> None:
    log = _log.error if suggestion.overdue else _log.info
    log(
        "{site}: the CA suggests to renew from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC{over}{why}",
        site=site,
        start=suggestion.start,
        end=suggestion.end,
        over=", which is over: it is done at once. Is the certificate revoked?" if suggestion.overdue else "",
        why=f"; see {suggestion.explanation}" if suggestion.explanation else "",
    )
