"""Medians, ratios, the table and the gate."""

from __future__ import annotations

from bench.contest import Sample, rotated
from bench.gate import failures
from bench.report import ratio, summarize, table

SAMPLES = [
    Sample("small", "appliance", 0, 60.0, 9000.0),
    Sample("small", "caddy", 0, 100.0, 5000.0),
    Sample("small", "appliance", 1, 50.0, 9500.0),
    Sample("small", "caddy", 1, 300.0, 4000.0),
    Sample("small", "appliance", 2, 90.0, 8000.0),
    Sample("small", "caddy", 2, 80.0, 6000.0),
    Sample("idle", "appliance", 0, 20480.0),
]


def test_medians_with_their_spread() -> None:
    """One noisy round moves the spread, not the median."""
    caddy = next(result for result in summarize(SAMPLES) if result.proxy == "caddy")
    assert (caddy.cost, caddy.lowest, caddy.highest, caddy.rate) == (100.0, 80.0, 300.0, 5000.0)


def test_ratio_needs_both() -> None:
    """A ratio is of medians; against a contender that did not run there is none."""
    results = summarize(SAMPLES)
    assert ratio(results, "small", "appliance", "caddy") == 0.6
    assert ratio(results, "small", "appliance", "nginx") is None
    assert ratio(results, "idle", "appliance", "caddy") is None


def test_table_shows_each_work_in_its_unit() -> None:
    """Requests in microseconds with their rate, idle connections in KiB without one."""
    requests, idle = table(summarize(SAMPLES)).split("\n\n")
    assert requests.splitlines()[2].split() == ["appliance", "60.0", "50.0–90.0", "9000", "1.00", "0.60"]
    assert idle.splitlines()[2].split() == ["appliance", "20.0", "20.0–20.0", "–", "1.00"]


def test_gate_passes_at_the_limit_and_names_what_it_missed() -> None:
    """Up to the ratio it passes; above it, or unmeasured, it says so."""

    def judge(cost: float) -> list[str]:
        samples = [Sample("small", "appliance", 0, cost), Sample("small", "caddy", 0, 100.0)]
        return failures(summarize(samples), {("small", "caddy"): 0.8})

    assert judge(80.0) == []
    assert judge(81.0) == ["small: 0.81 × caddy, at most 0.80 allowed"]
    assert failures([], {("small", "caddy"): 0.8}) == ["small: not measured against caddy"]


def test_every_contender_is_first_in_turn() -> None:
    """The order of a round begins one further each time."""
    assert ["".join(rotated("abc", number)) for number in range(4)] == ["abc", "bca", "cab", "abc"]
