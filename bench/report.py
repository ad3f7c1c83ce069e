"""From samples to medians, ratios and spreads; as a text table, and as values for a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from attrs import frozen

from bench.contest import IDLE, Sample
from bench.idle import CONNECTIONS
from bench.load import WORKS


@frozen
class Result:
    """One contender at one work, over all rounds."""

    work: str
    proxy: str
    cost: float
    """Median: CPU microseconds per request, or bytes per idle connection."""
    lowest: float
    highest: float
    rate: float
    """Median of requests per second."""


def summarize(samples: Iterable[Sample]) -> list[Result]:
    """Reduce the rounds to medians, in the order in which work and proxy first appear."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.work, sample.proxy), []).append(sample)
    return [_result(work, proxy, group) for (work, proxy), group in groups.items()]


def _result(work: str, proxy: str, group: Sequence[Sample]) -> Result:
    costs = [sample.cost for sample in group]
    rate = median(sample.rate for sample in group)
    return Result(work, proxy, median(costs), min(costs), max(costs), rate)


def ratio(results: Iterable[Result], work: str, proxy: str, peer: str) -> float | None:
    """Return a proxy's median cost over a peer's; None when one of them was not measured."""
    costs = {result.proxy: result.cost for result in results if result.work == work}
    if proxy not in costs or not costs.get(peer):
        return None
    return costs[proxy] / costs[peer]


def table(results: Sequence[Result]) -> str:
    """Return one block for each work: cost with its spread, rate, and the ratios to every contender."""
    works = dict.fromkeys(result.work for result in results)
    return "\n\n".join(_block([result for result in results if result.work == work]) for work in works)


def _block(results: Sequence[Result]) -> str:
    work = results[0].work
    peers = [result.proxy for result in results]
    head = f"{'proxy':<10} {_unit(work):>11} {'lowest–highest':>17} {'requests/s':>11}"
    lines = [_title(work), head + "".join(f" {'× ' + peer:>12}" for peer in peers)]
    for result in results:
        ratios = (ratio(results, work, result.proxy, peer) for peer in peers)
        lines.append(_row(result) + "".join(f" {_number(value, 2):>12}" for value in ratios))
    return "\n".join(lines)


def _row(result: Result) -> str:
    scale = 1 / 1024 if result.work == IDLE else 1.0
    spread = f"{result.lowest * scale:.1f}–{result.highest * scale:.1f}"
    rate = _number(result.rate or None, 0)
    return f"{result.proxy:<10} {result.cost * scale:>11.1f} {spread:>17} {rate:>11}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _unit(work: str) -> str:
    return "KiB each" if work == IDLE else "CPU µs each"


def _title(work: str) -> str:
    return f"{CONNECTIONS} idle TLS connections, memory" if work == IDLE else WORKS[work].title
