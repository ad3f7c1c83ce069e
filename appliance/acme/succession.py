"""What a site takes over when the configuration changes: whether it is the same site, and which certificates it has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from appliance.acme.decision import Stock, choose, covered
from appliance.config import Site
from appliance.tls.certificate import Certificate


def certified_as(site: Site) -> object:
    """All that its certificate depends on: sites that are equal in this have the same renewal."""
    return site.names, site.issuer, site.profile, site.key_type, site.challenge, site.dns


def inherit(
    names: Sequence[str], own: Sequence[Certificate], others: Stock, now: datetime
) -> tuple[Certificate | None, Certificate | None]:
    """
    The certificate to serve for ``names``, and another one for those that it lacks; None where there is none.

    ``own`` is what the site had before, which goes before ``others`` unless one of those covers more. So a name that
    moves from one site to another is served all the while.
    """
    best, other = choose(names, Stock(own), now), choose(names, others, now)
    if best is None or (other is not None and len(covered(other, names)) > len(covered(best, names))):
        best = other
    lacking = [name for name in names if best is not None and not best.covers(name)]
    return best, choose(lacking, others, now) if lacking else None
