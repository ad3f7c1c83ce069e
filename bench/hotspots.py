"""From what profilers write to rows of a table: microseconds per request, the dearest first. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import evolve, frozen

Function = tuple[str, int, str]
"""File, line and name, as :mod:`pstats` keys its statistics."""
Timing = tuple[int, int, float, float, object]
"""Primitive calls, calls, own seconds, seconds with callees, callers: the values of :mod:`pstats`."""

_LINE = re.compile(r":\d+\)$")


@frozen
class Row:
    """One place in the code; microseconds per request."""

    name: str
    own: float
    total: float | None = None
    """With all that it calls; None where the profiler does not know."""
    calls: float | None = None
    """Calls per request; None where the profiler does not count."""


def from_cprofile(stats: Mapping[Function, Timing], requests: int) -> list[Row]:
    """Read the statistics of cProfile, taken over so many requests."""
    rows = [
        Row(_place(function), own / requests * 1e6, total / requests * 1e6, calls / requests)
        for function, (_, calls, own, total, _) in stats.items()
    ]
    return _dearest_first(rows)


def from_stacks(lines: Iterable[str], cost: float) -> list[Row]:
    """Read py-spy's raw format, ``outer;inner COUNT``, and share out ``cost``, in µs per request, by function."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for frames, count in _samples(lines):
        functions = [_LINE.sub(")", frame) for frame in frames]
        own[functions[-1]] += count
        for function in set(functions):
            total[function] += count
    each = cost / max(1, own.total())
    return _dearest_first(Row(name, own[name] * each, count * each) for name, count in total.items())


def by_line(lines: Iterable[str], cost: float) -> list[Row]:
    """Read the same, and share out by the line that ran."""
    own: Counter[str] = Counter()
    for frames, count in _samples(lines):
        own[frames[-1]] += count
    each = cost / max(1, own.total())
    return _dearest_first(Row(name, count * each) for name, count in own.items())


def _samples(lines: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    """Yield stacks, outermost frame first, and how often each was seen; empty ones are left out."""
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        if stack.strip():
            yield stack.split(";"), int(count)


def from_shares(report: str, cost: float) -> list[Row]:
    """Read perf's report, ``PERCENT%;OBJECT[;SYMBOL;…]`` lines, and share out ``cost``, in µs per request."""
    rows = []
    for line in report.splitlines():
        share, *names = (column.strip() for column in line.split(";"))
        if names and share.endswith("%"):
            rows.append(Row(" ".join(names[:2]), float(share[:-1]) / 100 * cost))
    return _dearest_first(rows)


def table(title: str, rows: Sequence[Row], length: int) -> str:
    """Return the first rows as text, and a last one that sums up the rest."""
    shown, rest = list(rows[:length]), rows[length:]
    if rest:
        shown.append(Row(f"({len(rest)} more)", sum(row.own for row in rest)))
    head = f"{'own µs':>8} {'total µs':>9} {'calls':>7}  per request"
    return "\n".join([title, head, *(_text(row) for row in shown)])


def without_prefix(rows: Iterable[Row], prefixes: Iterable[str]) -> list[Row]:
    """Shorten the paths in names: drop each of the prefixes, wherever it stands."""
    shortened = list(rows)
    for prefix in prefixes:
        shortened = [evolve(row, name=row.name.replace(prefix, "")) for row in shortened]
    return shortened


def _text(row: Row) -> str:
    total = "" if row.total is None else f"{row.total:.2f}"
    calls = "" if row.calls is None else f"{row.calls:.2f}"
    return f"{row.own:>8.2f} {total:>9} {calls:>7}  {row.name}"


def _place(function: Function) -> str:
    file, line, name = function
    return name if file == "~" else f"{name} ({file}:{line})"


def _dearest_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.own, reverse=True)
