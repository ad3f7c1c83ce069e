"""Upstreams and health checks stay for as long as their routes do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from appliance.config import Backend, HealthCheck, PassiveCheck, Route, Site, Timeouts, UpstreamAddress
from appliance.errors import ApplianceError, UpstreamError
from appliance.net.deadlines import Deadlines
from appliance.proxy.applications import Applications
from appliance.proxy.upstream import Upstream
from tests.support.certificates import shared_authority
from tests.support.transports import Network

PLACE = ("a.test", "/")


class Made:
    """Applications on a network of its own."""

    def __init__(self) -> None:
        self.network = Network()
        self.applications = Applications(self.network, Deadlines(self.network), Timeouts(), lambda: 0.5)
        self.applications.startService()

    def apply(self, *sites: Site, timeouts: Timeouts | None = None) -> Upstream:
        """Have these; the upstream of the first one's route."""
        self.applications.apply(self.applications.prepare(sites), timeouts or Timeouts())
        return self.applications.upstreams[PLACE]

    @property
    def checks(self) -> list[object]:
        """Those that run."""
        return [check for check in self.applications if check.running]


@pytest.fixture
def made() -> Iterator[Made]:
    made = Made()
    yield made
    made.applications.stopService()
    assert made.network.getDelayedCalls() == []


def site(port: int = 8000, *, weight: int = 1, name: str = "a.test", strip: bool = False, **backend: object) -> Site:
    """A site with one route to one address."""
    address = UpstreamAddress("127.0.0.1", port, weight=weight, tls=backend.get("ca_file") is not None)
    return Site((name,), (Route("/", (address,), strip, Backend(**backend)),))  # type: ignore[arg-type]


def test_a_route_that_stays(made: Made) -> None:
    """Whatever else comes and goes, and whatever it is called there."""
    before = made.apply(site(), site(name="b.test"))
    assert made.apply(site(name="c.test"), evolve(site(strip=True), names=("a.test", "www.a.test"))) is before
    assert list(made.applications.upstreams) == [("c.test", "/"), PLACE]


@pytest.mark.parametrize("other", [site(8001), site(weight=2), site(try_for=1.0)])
def test_a_route_that_changes(made: Made, other: Site) -> None:
    """Its connections are others."""
    before = made.apply(site())
    after = made.apply(other)
    assert after is not before
    assert before._closing
    assert not after._closing


def test_a_route_that_leads_nowhere_else(made: Made) -> None:
    """Has no upstream."""
    made.apply(site())
    made.applications.apply(made.applications.prepare([Site(("a.test",), (Route("/", ()),))]), Timeouts())
    assert made.applications.upstreams == {}


def test_timeouts(made: Made) -> None:
    """Are for connections to come, of routes that stay too."""
    made.apply(site())
    others = Timeouts(connect=1.0)
    assert made.apply(site(), timeouts=others).pools[0].timeouts == others


def test_health_checks(made: Made) -> None:
    """They change while the upstream stays; what they found does not count any more when they go."""
    before = made.apply(site(health_check=HealthCheck("/health")))
    (check,) = made.checks
    assert made.apply(site(health_check=HealthCheck("/health"))) is before
    assert made.checks == [check]
    assert made.apply(site(health_check=HealthCheck("/other"))) is before
    assert len(made.checks) == 1
    assert made.checks != [check]
    for _ in range(2):
        before.members[0].checked("ill")
    assert not before.members[0].healthy
    assert made.apply(site()) is before
    assert made.checks == []
    assert before.members[0].healthy


def two(balance: str, **backend: object) -> Site:
    """A site with two addresses."""
    addresses = UpstreamAddress("127.0.0.1", 8000), UpstreamAddress("127.0.0.1", 8001)
    return Site(("a.test",), (Route("/", addresses, backend=Backend(balance, **backend)),))  # type: ignore[arg-type]


def test_what_is_known_of_addresses(made: Made) -> None:
    """Is known of them in the upstream that takes the old one's place."""
    check = HealthCheck("/health")
    before = made.apply(two("round_robin", health_check=check))
    for _ in range(2):
        before.members[1].checked("ill")
    after = made.apply(two("client_hash", health_check=check))
    assert after is not before
    assert [member.healthy for member in after.members] == [True, False]
    refusal = UpstreamError("connect", "refused")
    after.members[0].refused(refusal, 0.0)
    third = made.apply(site(8000, try_for=2.0))
    assert (third.members[0].accepting, third.members[0].refusal) == (False, refusal)
    assert third.members[0].refuses_quickly


def test_an_address_that_is_out_stays_out(made: Made) -> None:
    """For its cool-down; where the rules have changed, it is given another chance."""
    before = made.apply(two("round_robin"))
    for _ in range(3):
        before.members[1].failed(UpstreamError("head", "reset"))
    assert not before.members[1].healthy
    after = made.apply(two("client_hash"))
    assert [member.healthy for member in after.members] == [True, False]
    made.network.pass_time(11)
    assert after.members[1].on_trial
    assert made.apply(two("client_hash", passive_check=PassiveCheck(failures=5))).members[1].healthy


def test_trusted_certificates(made: Made, tmp_path: Path) -> None:
    """Are read again: another file under the same name makes another upstream."""
    file = tmp_path / "ca.pem"
    file.write_bytes(shared_authority().pem)
    before = made.apply(site(ca_file=file))
    assert made.apply(site(ca_file=file)) is before
    file.write_bytes(shared_authority().pem + b"\n")
    assert made.apply(site(ca_file=file)) is not before


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_a_file_of_no_use(made: Made, tmp_path: Path, content: bytes | None) -> None:
    """Changes nothing, and is named."""
    before = made.apply(site())
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ApplianceError, match=r"a\.test: upstream_ca_file .*ca\.pem is of no use"):
        made.applications.prepare([site(ca_file=file)])
    assert made.applications.upstreams == {PLACE: before}
