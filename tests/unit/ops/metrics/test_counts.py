"""What is counted."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from appliance.http.message import RequestHead
from appliance.ops.metrics.counts import BOUNDS, FAULTS, NO_SITE, THE_OTHERS, Counts
from appliance.proxy.dial import CONNECT, HTTP_2, LOCAL, TLS
from tests.support.observed import Ended, observed


def ended(fault: str = "", **made: Any) -> list[RequestHead]:
    """A request whose time was by half the upstream's."""
    one = Ended(fault=fault, **made)
    return observed([evolve(one, answered=one.seconds / 2)])


def test_requests() -> None:
    """By site, method and status; with bytes and times."""
    counts = Counts(10)
    for batch in (ended(), ended(), ended(status=404), ended(site="b.example", method=b"POST")):
        counts.requests(batch)
    site = counts.sites["a.example"]
    assert site.requests == {(b"GET", 200): 2, (b"GET", 404): 1}
    assert (site.bytes_in, site.bytes_out) == (9, 15)
    assert sum(site.times.counts) == 3
    assert site.times.counts[BOUNDS.index(0.5)] == 3
    assert abs(site.times.seconds - 0.9) < 1e-9
    assert counts.upstreams["http://a:1"].counts[BOUNDS.index(0.25)] == 4
    assert counts.sites["b.example"].requests == {(b"POST", 200): 1}


def test_long_times() -> None:
    """Beyond the last bound there is one more place; exactly on one counts as up to it."""
    counts = Counts(10)
    counts.requests(ended(seconds=100))
    counts.requests(ended(seconds=0.5))
    assert counts.sites["a.example"].times.counts[-1] == 1
    assert counts.sites["a.example"].times.counts[BOUNDS.index(0.5)] == 1


def test_tunnels() -> None:
    """They have a count, but their length says nothing of how fast anything is."""
    counts = Counts(10)
    counts.requests(ended(status=101, seconds=3600))
    site = counts.sites["a.example"]
    assert site.requests == {(b"GET", 101): 1}
    assert sum(site.times.counts) == 0


def test_without_a_site_or_an_upstream() -> None:
    """What the appliance answered by itself, and what was no request."""
    counts = Counts(10)
    counts.requests(observed([Ended("", upstream=""), Ended("", b"", 400, upstream="")]))
    assert counts.sites[NO_SITE].requests == {(b"GET", 200): 1, (b"other", 400): 1}
    assert counts.upstreams == {}


def test_when_the_upstream_answered() -> None:
    """With the response's end, if that came at once; not at all, if something else went wrong, or it was not asked."""
    counts = Counts(10)
    for fault in ("connect", "client", "file"):
        counts.requests(ended(upstream="", fault=fault))
    assert counts.upstreams == {}
    for fault in ("", "head"):
        counts.requests(observed([Ended(fault=fault)]))
    assert sum(counts.upstreams["http://a:1"].counts) == 1
    assert abs(counts.upstreams["http://a:1"].seconds - 0.3) < 1e-9


def test_faults() -> None:
    """By whom; a word that is not known is one too."""
    counts = Counts(10)
    for fault in ("client", "head", "client", "file", "mystery"):
        counts.requests(ended(fault=fault))
    assert counts.sites["a.example"].faults == {"client": 2, "head": 1, "file": 1, "other": 1}


def test_phases_are_faults() -> None:
    """Whatever an application fails at has a name of its own."""
    assert {CONNECT, TLS, HTTP_2, LOCAL} <= FAULTS


def test_few_sites_and_addresses() -> None:
    """Beyond the bound they share."""
    counts = Counts(2)
    for number in range(5):
        counts.requests(ended(site=f"{number}.example", upstream=f"http://127.0.0.1:{number}"))
        counts.requests(ended(site="", upstream="http://127.0.0.1:0"))
    assert list(counts.sites) == ["0.example", NO_SITE, "1.example", THE_OTHERS]
    assert counts.sites[THE_OTHERS].requests == {(b"GET", 200): 3}
    assert list(counts.upstreams) == ["http://127.0.0.1:0", "http://127.0.0.1:1", THE_OTHERS]
    assert [sum(times.counts) for times in counts.upstreams.values()] == [6, 1, 3]


def test_few_methods_and_statuses() -> None:
    """Unknown methods are one; an application that answers with every status there is fills no memory."""
    counts = Counts(2)
    for status in range(200, 600):
        counts.requests(ended(status=status))
        counts.requests(ended(method=b"X%d" % status))
    requests = counts.sites["a.example"].requests
    assert len(requests) <= 70
    assert sum(requests.values()) == 800
    assert {method for method, _ in requests} == {b"GET", b"other"}
    assert requests[b"other", 500] == 100


def test_handshakes_and_reloads() -> None:
    """By version, reason and outcome."""
    counts = Counts(2)
    for version in ("TLSv1.3", "TLSv1.2", "TLSv1.3"):
        counts.handshake_completed(version)
    counts.handshake_failed("timeout")
    counts.reloaded(5.0, True)
    counts.reloaded(6.0, False)
    assert counts.handshakes == {"TLSv1.3": 2, "TLSv1.2": 1}
    assert counts.failed_handshakes == {"timeout": 1}
    assert counts.reloads == {"success": 1, "failure": 1}
    assert counts.reloaded_at == 5.0
