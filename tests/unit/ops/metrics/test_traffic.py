"""How busy sites are lately: rates and times out of counts, bounded."""

from __future__ import annotations

from appliance.ops.metrics import traffic
from appliance.ops.metrics.counts import BOUNDS, Counts
from appliance.ops.metrics.traffic import KEPT, TICK, WINDOW, Traffic, quantile
from tests.support.observed import Ended, observed


def ended(site: str = "a.example", status: int = 200, seconds: float = 0.03, upstream: str = "http://a:1") -> Ended:
    """A request whose response began as it ended."""
    return Ended(site, status=status, seconds=seconds, upstream=upstream)


def watched(counts: Counts) -> Traffic:
    """With two requests under way on three connections."""
    return Traffic(counts, lambda: 2, lambda: {"https": 3})


def test_before_anything() -> None:
    """Zeros for all together, nothing for those that nobody knows."""
    watch = watched(Counts(10))
    assert watch.site("a.example") is watch.address("http://a:1") is None
    assert watch.total() == {
        "window": WINDOW,
        "requests_in_flight": 2,
        "connections": {"https": 3},
        "requests": 0,
        "errors": 0,
        "rate": 0.0,
        "error_rate": 0.0,
        "p50": None,
        "p95": None,
        "rates": [],
    }
    watch.look(100.0)
    assert watch.site("a.example") is None
    assert watch.total()["rate"] == 0.0


def test_lately_is_the_last_minute() -> None:
    """Requests before it have no part in rates and times; the totals keep them."""
    counts = Counts(10)
    watch = watched(counts)
    watch.look(0.0)
    counts.requests(observed([ended(status=502, seconds=9.0)] * 10))
    for number in range(1, 30):
        watch.look(number * TICK)
    counts.requests(observed([ended(), ended(), ended(status=500)]))
    watch.look(30 * TICK)
    site = watch.site("a.example")
    assert site is not None
    assert (site["requests"], site["errors"]) == (13, 11)
    assert (site["rate"], site["error_rate"]) == (round(3 / WINDOW, 3), round(1 / WINDOW, 3))
    assert 0.025 < site["p50"] < site["p95"] <= 0.05
    assert site["rates"] == [10 / TICK] + [0.0] * 28 + [round(3 / TICK, 3)]
    address = watch.address("http://a:1")
    assert address == {"requests": 13, "rate": site["rate"], "p50": site["p50"], "p95": site["p95"]}
    assert watch.total()["requests"] == 13


def test_memory_is_bounded() -> None:
    """So many looks, so many sites; and what stood still is not copied."""
    counts = Counts(traffic.MOST + 5)
    watch = watched(counts)
    counts.requests(observed([ended(f"{number}.example", upstream="") for number in range(traffic.MOST + 5)]))
    for number in range(3 * KEPT):
        watch.look(number * TICK)
    assert len(watch._looks) == KEPT + 1
    assert len(watch._looks[-1].sites) == traffic.MOST
    assert watch._looks[-1].sites["0.example"] is watch._looks[0].sites["0.example"]
    assert len(watch.total()["rates"]) == KEPT


def test_all_sites_are_in_the_total() -> None:
    """Also those that have no figures of their own, whenever they were asked for."""
    counts = Counts(traffic.MOST * 2)
    watch = watched(counts)
    names = [f"{number}.example" for number in range(traffic.MOST + 5)]
    counts.requests(observed([ended(name, upstream="") for name in names]))
    watch.look(0.0)
    counts.requests(observed([ended(names[0], 502, upstream=""), ended(names[-1], 502, 9.0, upstream="")]))
    watch.look(TICK)
    assert (watch.site(names[-1]), watch.site(names[0]) is None) == (None, False)
    total = watch.total()
    assert (total["requests"], total["errors"]) == (traffic.MOST + 7, 2)
    assert total["rates"] == [2 / TICK]
    assert sum(watch._looks[-1].all.times) == traffic.MOST + 7
    assert 5.0 < total["p95"] <= BOUNDS[-1]


def test_quantiles() -> None:
    """Between the bounds; the last one where there is no end to it."""
    counts = [0] * (len(BOUNDS) + 1)
    assert quantile(counts, 0.5) is None
    counts[BOUNDS.index(0.05)] = 10
    assert quantile(counts, 0.5) == 0.0375
    assert quantile(counts, 1.0) == 0.05
    counts[-1] = 100
    assert quantile(counts, 0.5) == BOUNDS[-1]
