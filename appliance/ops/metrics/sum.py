"""What one process counted, taken from it and added to what another counted: plain values, for JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.ops.metrics.counts import (
    BOUNDS,
    METHODS,
    NO_SITE,
    OTHER_METHOD,
    THE_OTHERS,
    Counts,
    Histogram,
    SiteCounts,
    count_pair,
)

Document = dict[str, Any]


class FiguresError(ValueError):
    """Figures that no process of ours would send."""


def take(counts: Counts) -> Document:
    """What was counted since this was last called. Reloads are counted by one process alone."""
    document = {
        "sites": {name: _site(site) for name, site in counts.sites.items()},
        "upstreams": {name: _times(times) for name, times in counts.upstreams.items()},
        "handshakes": dict(counts.handshakes),
        "failed_handshakes": dict(counts.failed_handshakes),
    }
    counts.clear()
    return document


def add(counts: Counts, document: Document) -> None:
    """Add what `take` gave. Raises FiguresError, before anything is added, for what is nothing of the kind."""
    try:
        sites = {str(name): _read_site(site) for name, site in document["sites"].items()}
        upstreams = {str(name): _read_times(times) for name, times in document["upstreams"].items()}
        handshakes, failed = _read_counts(document["handshakes"]), _read_counts(document["failed_handshakes"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FiguresError(f"figures of no use: {error!r}") from error
    for name, site in sites.items():
        _add_site(_place(counts, name), site)
    for address, times in upstreams.items():
        _add_times(counts.upstreams.get(address) or counts.new_upstream(address), times)
    for known, more in ((counts.handshakes, handshakes), (counts.failed_handshakes, failed)):
        for key, count in more.items():
            known[key] = known.get(key, 0) + count


def _site(site: SiteCounts) -> Document:
    return {
        "requests": [[method.decode("ascii"), status, count] for (method, status), count in site.requests.items()],
        "faults": dict(site.faults),
        "times": _times(site.times),
        "bytes": [site.bytes_in, site.bytes_out],
    }


def _times(times: Histogram) -> list[Any]:
    return [list(times.counts), times.seconds]


def _read_site(document: Document) -> SiteCounts:
    site = SiteCounts()
    for method, status, count in document["requests"]:
        known = method.encode("ascii")
        site.requests[known if known in METHODS else OTHER_METHOD, _whole(status)] = _whole(count)
    site.faults = _read_counts(document["faults"])
    site.times = _read_times(document["times"])
    site.bytes_in, site.bytes_out = map(_whole, document["bytes"])
    return site


def _read_times(document: list[Any]) -> Histogram:
    times = Histogram()
    counts, seconds = document
    times.counts = list(map(_whole, counts))
    if len(times.counts) != len(BOUNDS) + 1:
        raise ValueError("other bounds")
    times.seconds = float(seconds)
    return times


def _read_counts(document: Document) -> dict[str, int]:
    return {str(key): _whole(count) for key, count in document.items()}


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _place(counts: Counts, name: str) -> SiteCounts:
    """Where a site's figures belong."""
    if name in counts.sites:
        return counts.sites[name]
    if name == THE_OTHERS:
        return counts.sites.setdefault(THE_OTHERS, SiteCounts())
    return counts.new_site("" if name == NO_SITE else name)


def _add_site(known: SiteCounts, more: SiteCounts) -> None:
    for (method, status), count in more.requests.items():
        count_pair(known.requests, method, status, count)
    for fault, count in more.faults.items():
        known.faults[fault] = known.faults.get(fault, 0) + count
    _add_times(known.times, more.times)
    known.bytes_in += more.bytes_in
    known.bytes_out += more.bytes_out


def _add_times(known: Histogram, more: Histogram) -> None:
    known.counts = [mine + other for mine, other in zip(known.counts, more.counts, strict=True)]
    known.seconds += more.seconds


def whole_numbers(document: Document, *keys: str) -> Iterator[int]:
    """These values of a report. Raises FiguresError for what is no count."""
    for key in keys:
        try:
            yield _whole(document.get(key, 0))
        except ValueError as error:
            raise FiguresError(f"{key}: {error}") from error
