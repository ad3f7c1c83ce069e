"""The metrics, made from what is counted and known at the moment somebody asks. ``docs/metrics.rst`` explains each."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from heapq import nsmallest
from itertools import accumulate
from typing import Protocol

import cryptography
from attrs import define, field
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

import twisted
from appliance import __version__
from appliance.ops.metrics.counts import BOUNDS, NO_SITE, Counts, Histogram
from appliance.ops.metrics.survey import SiteFigures, Survey

_EDGES = (*map(str, BOUNDS), "+Inf")


class Clients(Protocol):
    """One kind of listener: `net.listener.ClientFactory`."""

    @property
    def accepted(self) -> int:
        """Connections so far."""

    @property
    def open(self) -> Sized:
        """Those that stand."""


class Pool(Protocol):
    """`proxy.pool.Pool`."""

    @property
    def open(self) -> int:
        """Connections, idle ones included."""

    @property
    def idle(self) -> int:
        """Those that wait for a request."""


class Member(Protocol):
    """One address: `proxy.member.Member`."""

    key: str
    accepting: bool

    @property
    def pool(self) -> Pool:
        """Its connections."""

    @property
    def healthy(self) -> bool:
        """Whether its checks leave it in."""


class Upstream(Protocol):
    """The addresses of a route: `proxy.upstream.Upstream`."""

    name: str

    @property
    def members(self) -> Sequence[Member]:
        """Its addresses."""

    @property
    def waiting(self) -> int:
        """How many requests wait for one."""


@define
class Sources:
    """Whom to ask."""

    counts: Counts
    survey: Survey
    most: int
    """So many sites, and so many addresses, have lines of their own."""
    in_flight: Callable[[], int] = lambda: 0
    clients: dict[str, Clients] = field(factory=dict)
    """By ``http`` and ``https``."""
    refused: Callable[[], int] = lambda: 0
    """Connections beyond the bounds."""
    upstreams: Callable[[], Iterable[Upstream]] = lambda: ()
    lost_lines: Callable[[], int] = lambda: 0
    """Of the access log."""
    workers: Callable[[], tuple[int, int]] = lambda: (0, 0)
    """How many processes there are beside this one, and how many have crashed."""


def families(sources: Sources) -> Iterator[Metric]:
    """All metrics, each made when it is asked for."""
    yield _build()
    yield from ProcessCollector(registry=None).collect()
    yield from _requests(sources.counts)
    yield _gauge("requests_in_flight", "Requests and tunnels under way.", sources.in_flight())
    yield from _connections(sources)
    yield from _handshakes(sources.counts)
    yield from _upstreams(sources.upstreams(), sources.most)
    yield _response_times(sources.counts)
    yield from _certificates(sources.survey, sources.most)
    yield from _reloads(sources.counts)
    yield _counter("access_log_lines_lost", "Lines that could not be written.", sources.lost_lines())
    processes, crashes = sources.workers()
    yield _gauge("workers", "Processes that serve clients.", processes + 1)
    yield _counter("worker_crashes", "Of these, those that ended by themselves and were replaced.", crashes)


def _gauge(name: str, what: str, value: float | None = None, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"appliance_{name}", what, value=value, labels=None if value is not None else labels)


def _counter(name: str, what: str, value: float | None = None, labels: Sequence[str] = ()) -> CounterMetricFamily:
    return CounterMetricFamily(f"appliance_{name}", what, value=value, labels=None if value is not None else labels)


def _add(family: HistogramMetricFamily, label: str, times: Histogram) -> None:
    family.add_metric([label], list(zip(_EDGES, accumulate(times.counts), strict=True)), times.seconds)


def _build() -> Metric:
    labels = ("version", "python", "twisted", "cryptography")
    family = _gauge("build_info", "What runs.", labels=labels)
    family.add_metric([__version__, platform.python_version(), twisted.__version__, cryptography.__version__], 1)
    return family


def _requests(counts: Counts) -> Iterator[Metric]:
    requests = _counter("requests", "Requests that ended, by site.", labels=("site", "method", "code"))
    faults = _counter("request_faults", "Requests broken off or not answered, by whom or where.", labels=("site", "by"))
    for name, site in counts.sites.items():
        for (method, status), count in site.requests.items():
            requests.add_metric([name, method.decode("ascii"), str(status)], count)
        for fault, count in site.faults.items():
            faults.add_metric([name, fault], count)
    yield requests
    yield faults
    received = _counter("request_body_bytes", "Of requests' bodies and into tunnels.", labels=("site",))
    sent = _counter("response_body_bytes", "Of responses' bodies and out of tunnels.", labels=("site",))
    times = HistogramMetricFamily(
        "appliance_request_duration_seconds", "From a request's head to its response's end.", labels=("site",)
    )
    for name, site in counts.sites.items():
        received.add_metric([name], site.bytes_in)
        sent.add_metric([name], site.bytes_out)
        if name != NO_SITE:
            _add(times, name, site.times)
    yield received
    yield sent
    yield times


def _response_times(counts: Counts) -> Metric:
    family = HistogramMetricFamily(
        "appliance_upstream_response_seconds", "From sending a request to the response's head.", labels=("address",)
    )
    for address, times in counts.upstreams.items():
        _add(family, address, times)
    return family


def _connections(sources: Sources) -> Iterator[Metric]:
    standing = _gauge("connections", "Clients' connections.", labels=("listener",))
    accepted = _counter("connections_accepted", "Clients' connections so far.", labels=("listener",))
    for name, clients in sources.clients.items():
        standing.add_metric([name], len(clients.open))
        accepted.add_metric([name], clients.accepted)
    yield standing
    yield accepted
    yield _counter("connections_refused", "Connections beyond the bounds.", sources.refused())


def _handshakes(counts: Counts) -> Iterator[Metric]:
    done = _counter("tls_handshakes", "TLS handshakes that succeeded.", labels=("version",))
    for version, count in counts.handshakes.items():
        done.add_metric([version], count)
    yield done
    failed = _counter("tls_handshake_failures", "TLS handshakes that failed.", labels=("reason",))
    for reason, count in counts.failed_handshakes.items():
        failed.add_metric([reason], count)
    yield failed


def _upstreams(upstreams: Iterable[Upstream], most: int) -> Iterator[Metric]:
    """Addresses that are down come first: they are told whatever their number, up to the bound."""
    members = [(upstream, member) for upstream in upstreams for member in upstream.members]
    down = [pair for pair in members if not _is_up(pair[1])]
    told = down[:most] if len(down) >= most else nsmallest(most, members, key=lambda pair: _is_up(pair[1]))
    yield _gauge("upstream_addresses", "Addresses of applications.", len(members))
    yield _gauge("upstream_addresses_down", "Those that refuse connections or fail their checks.", len(down))
    labels = ("upstream", "address")
    state = _gauge("upstream_up", "1: it is asked; 0: it refuses connections or fails its checks.", labels=labels)
    pools = _gauge("upstream_connections", "Connections to an address.", labels=(*labels, "state"))
    waiting = _gauge("upstream_waiting_requests", "Requests that wait for an address.", labels=("upstream",))
    for upstream, member in told:
        names = [upstream.name, member.key]
        state.add_metric(names, _is_up(member))
        pools.add_metric([*names, "idle"], member.pool.idle)
        pools.add_metric([*names, "busy"], member.pool.open - member.pool.idle)
    for name, count in {upstream.name: upstream.waiting for upstream, _ in told}.items():
        waiting.add_metric([name], count)
    yield state
    yield pools
    yield waiting


def _is_up(member: Member) -> bool:
    return member.accepting and member.healthy


def _certificates(survey: Survey, most: int) -> Iterator[Metric]:
    """Those that end first come first."""
    survey.refresh()
    figures = list(survey.figures.values())
    yield _gauge("sites", "Sites configured.", len(figures))
    yield _gauge("sites_without_certificate", "Of these.", sum(each.not_after is None for each in figures))
    yield _gauge(
        "sites_failing", "Whose last attempt brought no certificate.", sum(each.failures > 0 for each in figures)
    )
    ends = _gauge("certificate_not_after_timestamp_seconds", "When what is served ends.", labels=("site",))
    turns = _gauge("certificate_next_attempt_timestamp_seconds", "When it is renewed or tried next.", labels=("site",))
    failures = _gauge("certificate_failures", "Attempts in a row that brought none.", labels=("site",))
    for each in nsmallest(most, figures, key=_urgency):
        if each.not_after is not None:
            ends.add_metric([each.site], each.not_after.timestamp())
        if each.next_attempt is not None:
            turns.add_metric([each.site], each.next_attempt.timestamp())
        failures.add_metric([each.site], each.failures)
    yield ends
    yield turns
    yield failures
    renewals = _counter("renewals", "Attempts to obtain a certificate that ended.", labels=("outcome",))
    renewals.add_metric(["issued"], survey.issued)
    renewals.add_metric(["failed"], survey.failed)
    yield renewals


def _urgency(each: SiteFigures) -> float:
    return each.not_after.timestamp() if each.not_after is not None else 0.0


def _reloads(counts: Counts) -> Iterator[Metric]:
    reloads = _counter("reloads", "Times that the configuration was read anew.", labels=("outcome",))
    for outcome, count in counts.reloads.items():
        reloads.add_metric([outcome], count)
    yield reloads
    if counts.reloaded_at is not None:
        yield _gauge("last_reload_timestamp_seconds", "When that last succeeded.", counts.reloaded_at)
