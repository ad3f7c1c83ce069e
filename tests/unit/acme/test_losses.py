"""Names that could not be validated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from appliance.acme.losses import Loss, after_failures, names_to_order, still_lost
from appliance.errors import Problem
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate

NOW = datetime(2027, 6, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NAMES = ("a.test", "b.test", "c.test")
DNS = Problem("dns", "NXDOMAIN")


def certificate(*names: str, left: int = 60) -> Certificate:
    return make_certificate(names, not_before=NOW - (90 - left) * DAY, not_after=NOW + left * DAY)


def lost(name: str, wait: timedelta = HOUR) -> Loss:
    return Loss(name, 1, DNS, NOW + wait)


def test_ladder_of_each_name() -> None:
    """Each goes up its own ladder; the CA's own time goes first; others stay as they are."""
    one = after_failures([], {"a.test": DNS}, NOW, lambda: 0.5)
    assert one == (Loss("a.test", 1, DNS, NOW + MINUTE),)
    limited = Problem("rateLimited", "slow down", retry_after=7200.0)
    two = after_failures([*one, lost("c.test")], {"a.test": DNS, "b.test": limited}, NOW, lambda: 0.5)
    assert two == (
        Loss("a.test", 2, DNS, NOW + 10 * MINUTE),
        lost("c.test"),
        Loss("b.test", 1, limited, NOW + 2 * HOUR),
    )


def test_left_out_while_they_wait() -> None:
    """The others are ordered without; from its time on, or with a clock gone wrong, it is asked for again."""
    others = certificate("a.test", "c.test")
    assert names_to_order(NAMES, [lost("b.test")], others, NOW) == ("a.test", "c.test")
    assert names_to_order(NAMES, [lost("b.test", timedelta(0))], others, NOW) == NAMES
    assert names_to_order(NAMES, [lost("b.test", 300 * DAY)], others, NOW) == NAMES
    assert names_to_order(NAMES, [], None, NOW) == NAMES


def test_the_others_first() -> None:
    """While they have no certificate that lasts, nobody tries the lost ones again; what is covered stays, though."""
    overdue = [lost("b.test", -HOUR)]
    for old in (None, certificate("a.test"), certificate(*NAMES, left=5)):
        assert names_to_order(NAMES, overdue, old, NOW) == ("a.test", "c.test")
    assert names_to_order(NAMES, overdue, certificate("b.test"), NOW) == NAMES


def test_not_all_of_them() -> None:
    """Where nothing would be left, everything is asked for."""
    assert names_to_order(NAMES, [lost(name) for name in NAMES], None, NOW) == NAMES


def test_what_a_certificate_covers_is_not_dropped() -> None:
    """Not while it lasts; in its last tenth, or for a name that it lacks, it is."""
    losses = [lost("b.test")]
    assert names_to_order(NAMES, losses, certificate(*NAMES), NOW) == NAMES
    assert names_to_order(NAMES, losses, certificate(*NAMES, left=5), NOW) == ("a.test", "c.test")
    assert names_to_order(NAMES, losses, certificate("a.test", "c.test"), NOW) == ("a.test", "c.test")


def test_still_lost() -> None:
    """What is covered, or no longer the site's, is not lost."""
    losses = [lost("a.test"), lost("b.test"), lost("gone.test")]
    assert still_lost(losses, NAMES, certificate("a.test")) == (lost("b.test"),)
    assert still_lost(losses, NAMES, None) == (lost("a.test"), lost("b.test"))
