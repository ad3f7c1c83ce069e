"""What a site takes over when the configuration changes."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from appliance.acme.decision import Stock
from appliance.acme.succession import certified_as, inherit
from appliance.config import Route, Site, UpstreamAddress
from tests.support.certificates import make_certificate
from tests.support.reports import NOW

SITE = Site(("a.test",), (Route("/", (UpstreamAddress("127.0.0.1", 1),)),))


def made(*names: str, days: int = 60):  # type: ignore[no-untyped-def]
    """A certificate for some names, valid now."""
    return make_certificate(names, not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=days))


def test_the_same_site() -> None:
    """Where requests go has nothing to do with the certificate; everything about the order has."""
    assert certified_as(SITE) == certified_as(evolve(SITE, routes=(), deploy_hook=("true",)))
    for others in ({"names": ("b.test",)}, {"profile": "x"}, {"challenge": "http-01"}, {"issuer": ("x",)}):
        assert certified_as(SITE) != certified_as(evolve(SITE, **others))


def test_its_own_certificate_goes_first() -> None:
    """Among those that cover as much, whatever lasts longer."""
    own, other = made("a.test"), made("a.test", days=80)
    assert inherit(("a.test", "b.test"), [own], Stock([other]), NOW) == (own, None)


def test_another_that_covers_more() -> None:
    """The site's name may have changed, and not its names."""
    own, other = made("a.test"), made("a.test", "b.test")
    assert inherit(("a.test", "b.test"), [own], Stock([other]), NOW) == (other, None)


def test_a_name_that_moves() -> None:
    """It stays with the certificate of the site that it came from."""
    own, other = made("b.test"), made("a.test", "moved.test")
    assert inherit(("b.test", "moved.test"), [own], Stock([own, other]), NOW) == (own, other)


def test_nothing() -> None:
    """A new site has none, or what is stored."""
    assert inherit(("c.test",), [], Stock([made("a.test")]), NOW) == (None, None)
    stored = made("c.test")
    assert inherit(("c.test",), [], Stock([stored]), NOW) == (stored, None)
