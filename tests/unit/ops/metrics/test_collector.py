"""The metrics as Prometheus gets them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from attrs import define, field
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from twisted.internet.task import Clock

from appliance.ops.metrics.collector import Sources, families
from appliance.ops.metrics.counts import Counts
from appliance.ops.metrics.survey import SiteFigures, Survey
from tests.support.observed import Ended, observed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@define
class Pool:
    open: int = 3
    idle: int = 2


@define
class Member:
    key: str
    accepting: bool = True
    healthy: bool = True
    pool: Pool = field(factory=Pool)


@define
class Upstream:
    name: str
    members: list[Member]
    waiting: int = 0


class Registry(Collector):
    """All that there is, as one."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        return families(self._sources)


def told(sources: Sources) -> list[str]:
    """The appliance's own lines, without their headers."""
    lines = generate_latest(Registry(sources)).decode().splitlines()
    return [line.removeprefix("appliance_") for line in lines if line.startswith("appliance_")]


def sources(most: int = 10) -> Sources:
    """Nothing has happened yet."""
    return Sources(Counts(most), Survey(Clock(), lambda: NOW), most)


def request(site: str, upstream: str = "http://127.0.0.1:8000", fault: str = "") -> Ended:
    """One that took 0.2 seconds."""
    return Ended(site, seconds=0.2, upstream=upstream, fault=fault, answered=0.1, bytes_in=0, bytes_out=7)


def test_nothing_yet() -> None:
    """What is always there: so that alerts on its absence, and rates from the first event on, work."""
    found = {line.partition(" ")[0].partition("{")[0] for line in told(sources())}
    assert {
        *("build_info", "requests_in_flight", "connections_refused_total", "upstream_addresses", "sites"),
        *("upstream_addresses_down", "sites_without_certificate", "sites_failing", "renewals_total", "reloads_total"),
        *("access_log_lines_lost_total", "workers", "worker_crashes_total"),
    } == found


def test_requests() -> None:
    """Counts, bytes and a histogram for each site; those of no site have no times."""
    made = sources()
    made.counts.requests(observed([request("a.example"), request("a.example", fault="client"), request("", "")]))
    lines = told(made)
    assert 'requests_total{code="200",method="GET",site="a.example"} 2.0' in lines
    assert 'request_faults_total{by="client",site="a.example"} 1.0' in lines
    assert 'response_body_bytes_total{site="a.example"} 14.0' in lines
    assert 'request_duration_seconds_bucket{le="0.1",site="a.example"} 0.0' in lines
    assert 'request_duration_seconds_bucket{le="0.25",site="a.example"} 2.0' in lines
    assert 'request_duration_seconds_count{site="a.example"} 2.0' in lines
    assert 'upstream_response_seconds_bucket{address="http://127.0.0.1:8000",le="+Inf"} 2.0' in lines
    assert 'requests_total{code="200",method="GET",site="(none)"} 1.0' in lines
    assert not any("duration" in line and "(none)" in line for line in lines)


def test_connections_and_handshakes() -> None:
    """By listener, version and reason."""

    @define
    class Clients:
        accepted: int
        open: dict[int, str]

    made = sources()
    made.clients["https"] = Clients(5, {1: "", 2: ""})
    made.in_flight, made.refused, made.lost_lines = lambda: 4, lambda: 6, lambda: 8
    made.counts.handshake_completed("TLSv1.3")
    made.counts.handshake_failed("timeout")
    made.counts.reloaded(NOW.timestamp(), True)
    lines = told(made)
    for line in (
        'connections{listener="https"} 2.0',
        'connections_accepted_total{listener="https"} 5.0',
        "connections_refused_total 6.0",
        "requests_in_flight 4.0",
        "access_log_lines_lost_total 8.0",
        'tls_handshakes_total{version="TLSv1.3"} 1.0',
        'tls_handshake_failures_total{reason="timeout"} 1.0',
        'reloads_total{outcome="success"} 1.0',
        f"last_reload_timestamp_seconds {_number(NOW)}",
    ):
        assert line in lines


def test_upstreams() -> None:
    """State and connections of each address, and who waits for one."""
    made = sources()
    made.upstreams = lambda: [
        Upstream("a.example", [Member("http://a:1"), Member("http://a:2", healthy=False)], waiting=2),
        Upstream("b.example/v1", [Member("unix:/run/b", accepting=False)]),
    ]
    lines = told(made)
    for line in (
        'upstream_up{address="http://a:1",upstream="a.example"} 1.0',
        'upstream_up{address="http://a:2",upstream="a.example"} 0.0',
        'upstream_up{address="unix:/run/b",upstream="b.example/v1"} 0.0',
        'upstream_connections{address="http://a:1",state="idle",upstream="a.example"} 2.0',
        'upstream_connections{address="http://a:1",state="busy",upstream="a.example"} 1.0',
        'upstream_waiting_requests{upstream="a.example"} 2.0',
        "upstream_addresses 3.0",
        "upstream_addresses_down 2.0",
    ):
        assert line in lines


def test_certificates() -> None:
    """When each ends and is renewed; how many sites have none, or fail."""
    made = sources()
    made.survey.figures = {
        "a": SiteFigures("a", NOW + timedelta(days=9), NOW, 0),
        "b": SiteFigures("b", None, None, 2),
    }
    lines = [line for line in told(_frozen(made)) if "ertificate" in line or "sites" in line]
    assert sorted(lines) == sorted(
        [
            "sites 2.0",
            "sites_without_certificate 1.0",
            "sites_failing 1.0",
            f'certificate_not_after_timestamp_seconds{{site="a"}} {_number(NOW + timedelta(days=9))}',
            f'certificate_next_attempt_timestamp_seconds{{site="a"}} {_number(NOW)}',
            'certificate_failures{site="a"} 0.0',
            'certificate_failures{site="b"} 2.0',
        ]
    )


def _number(when: datetime) -> str:
    return str(floatToGoString(when.timestamp()))


def _frozen(made: Sources) -> Sources:
    """With what the survey knows staying as it is."""
    made.survey.refresh = lambda: None  # type: ignore[method-assign]
    return made


def test_ten_thousand_sites() -> None:
    """The answer is no longer than for a few; what is wrong is in it."""
    made = sources(20)
    for number in range(10_000):
        made.counts.requests(observed([request(f"{number}.example", f"http://127.0.0.1:{number}")]))
    made.survey.figures = {
        f"{number}.example": SiteFigures(f"{number}.example", NOW + timedelta(days=80 - number % 79), NOW, 0)
        for number in range(10_000)
    }
    members = [Upstream(f"{number}.example", [Member(f"http://127.0.0.1:{number}")]) for number in range(10_000)]
    members[9_999].members[0].accepting = False
    made.upstreams = lambda: members
    lines = told(_frozen(made))
    assert len(lines) < 20 * 50
    assert 'upstream_up{address="http://127.0.0.1:9999",upstream="9999.example"} 0.0' in lines
    assert "upstream_addresses_down 1.0" in lines
    assert "sites 10000.0" in lines
    assert 'requests_total{code="200",method="GET",site="(others)"} 9980.0' in lines
    ends = [float(line.split()[-1]) for line in lines if line.startswith("certificate_not_after")]
    assert max(ends) <= (NOW + timedelta(days=3)).timestamp()
    for upstream in members:
        upstream.members[0].accepting = False
    assert sum(line.startswith("upstream_up") for line in told(made)) == 20


def test_promtool_has_nothing_to_say() -> None:
    """Names and help as Prometheus likes them."""
    promtool = shutil.which("promtool")
    assert promtool is not None, "apt-get install prometheus"
    made = sources()
    made.counts.requests(observed([request("a.example"), request("")]))
    text = generate_latest(Registry(made))
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=20, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
