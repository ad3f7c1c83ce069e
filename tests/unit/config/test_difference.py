"""What a new configuration changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from appliance.config import Configuration, Limits, Listen, Route, Site, UpstreamAddress
from appliance.config.alarm import Export
from appliance.config.difference import Difference, compare
from appliance.config.ops import Log, Metrics


def site(*names: str, port: int = 8000, weight: int = 1, **others: object) -> Site:
    """A site with one route."""
    address = UpstreamAddress("127.0.0.1", port, weight=weight)
    return Site(names, (Route("/", (address,)),), **others)  # type: ignore[arg-type]


BEFORE = Configuration((site("a.test"), site("b.test")))


def test_nothing() -> None:
    """A configuration that was read again, as it was."""
    again = Configuration((site("a.test"), site("b.test")))
    assert compare(BEFORE, again) == Difference()
    assert str(compare(BEFORE, again)) == "nothing has changed"


def test_not_all_sites_go() -> None:
    """A file that was cut to nothing is no wish; the first site to come is one."""
    (mistake,) = compare(BEFORE, Configuration(())).refused
    assert (mistake.path, "none left" in mistake.message) == ("site", True)
    assert compare(Configuration(()), BEFORE) == Difference(added=("a.test", "b.test"))


def test_the_order_of_sites_is_nothing() -> None:
    """Sites are known by their names."""
    assert compare(BEFORE, Configuration((site("b.test"), site("a.test")))) == Difference()


def test_sites_come_and_go() -> None:
    """By their first names."""
    after = Configuration((site("c.test"), site("b.test")))
    assert compare(BEFORE, after) == Difference(added=("c.test",), removed=("a.test",))
    assert str(compare(BEFORE, after)) == "added c.test; removed a.test"


@pytest.mark.parametrize(
    "other",
    [site("a.test", "www.a.test"), site("a.test", port=8001), site("a.test", weight=2), site("a.test", profile="x")],
)
def test_sites_change(other: Site) -> None:
    """In whatever belongs to them; weights, by which addresses do not compare, included."""
    assert compare(BEFORE, Configuration((other, site("b.test")))) == Difference(changed=("a.test",))


def test_others_get_the_certificate() -> None:
    """Which is to be passed on to them, although it stays the same."""
    for others in ({"export": Export(Path("/x"))}, {"deploy_hook": ("true",)}):
        after = Configuration((site("a.test", **others), site("b.test")))
        assert compare(BEFORE, after) == Difference(changed=("a.test",), passed_on=("a.test",))


def test_settings() -> None:
    """Tables and keys by their names in the file."""
    after = evolve(BEFORE, limits=Limits(headers=50), listen=Listen(https=("tcp:8443",)))
    difference = compare(BEFORE, after)
    assert difference == Difference(settings=("listen", "limits"))
    assert str(difference) == "set listen, limits"


def test_what_takes_a_restart() -> None:
    """Each key with what to do."""
    after = evolve(BEFORE, state_dir=Path("/elsewhere"), log=Log(level="debug"))
    refused = compare(BEFORE, after).refused
    assert [mistake.path for mistake in refused] == ["state_dir", "log"]
    assert "restart it (it is /var/lib/appliance)" in refused[0].message
    assert "'level': 'info'" in refused[1].message


def test_metrics() -> None:
    """They may move; who may see them stays."""
    before = evolve(BEFORE, metrics=Metrics(("tcp:9",)))
    assert not compare(before, evolve(BEFORE, metrics=Metrics(("tcp:10",), max_sites=5))).refused
    (refused,) = compare(before, evolve(BEFORE, metrics=Metrics(("tcp:9",), public=True))).refused
    assert refused.path == "metrics.public"
    assert "cannot be changed" in refused.message


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("listen.proxy_protocol_from", {"listen": Listen(proxy_protocol_from=("10.0.0.0/8",))}),
        ("metrics", {"metrics": Metrics(("tcp:9",))}),
    ],
)
def test_what_cannot_be_turned_on_or_off(key: str, table: dict[str, object]) -> None:
    """It can be changed while it is on, though."""
    after = evolve(BEFORE, **table)
    (on,), (off,) = compare(BEFORE, after).refused, compare(after, BEFORE).refused
    assert (on.path, off.path) == (key, key)
    assert "turned on while" in on.message
    assert "turned off while" in off.message
    assert not compare(after, evolve(after, limits=Limits(headers=50))).refused
