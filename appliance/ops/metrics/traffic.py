"""How busy sites and applications are now: what `counts` counts, looked at every few seconds. Pure.

The figures of ``status`` and the status page. Whatever is *lately* is of the last ``WINDOW`` before the latest look, so
that two who ask between two looks are told the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice, pairwise
from operator import sub
from typing import Any

from attrs import frozen

from appliance.ops.metrics.counts import BOUNDS, Counts, Histogram, SiteCounts

TICK = 5.0
"""Seconds from one look to the next."""
WINDOW = 60.0
"""Seconds that are *lately*."""
KEPT = 48
"""So many differences between looks are kept, for a picture of the last minutes."""
MOST = 1000
"""Sites, and addresses, that have figures of their own; `Counts` may have more, which are in those of all together."""

_WINDOW_LOOKS = round(WINDOW / TICK)

Document = dict[str, Any]


@frozen
class _Figures:
    """One site or address at the moment of a look."""

    requests: int = 0
    errors: int = 0
    """Of these, statuses from 500 on."""
    times: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)


@frozen
class _Look:
    at: float
    sites: Mapping[str, _Figures]
    addresses: Mapping[str, _Figures]
    all: _Figures


_NOTHING = _Figures()


class Traffic:
    """Bounded, however many sites there are; made into plain values when somebody asks."""

    def __init__(
        self, counts: Counts, in_flight: Callable[[], int], connections: Callable[[], Mapping[str, int]]
    ) -> None:
        """``connections`` tells the clients' that stand, by kind of listener."""
        self._counts = counts
        self._in_flight = in_flight
        self._connections = connections
        self._looks: deque[_Look] = deque(maxlen=KEPT + 1)
        self._sites: dict[str, _Figures] = {}
        """All of them, at the latest look."""

    def look(self, now: float) -> None:
        """To be called every ``TICK`` seconds of a monotonic clock, ``now``."""
        before = self._looks[-1] if self._looks else _Look(now, {}, {}, _NOTHING)
        changed: list[tuple[_Figures, _Figures]] = []
        for name, site in self._counts.sites.items():
            old = self._sites.get(name, _NOTHING)
            requests = sum(site.requests.values())
            if requests != old.requests:  # most sites are silent most of the time
                self._sites[name] = new = _site(site, requests)
                changed.append((new, old))
        sites = dict(islice(self._sites.items(), MOST))
        addresses = {
            name: _address(times, before.addresses.get(name))
            for name, times in islice(self._counts.upstreams.items(), MOST)
        }
        self._looks.append(_Look(now, sites, addresses, _gone_on(before.all, changed)))

    def total(self) -> Document:
        """Everything together."""
        return {
            "window": WINDOW,
            "requests_in_flight": self._in_flight(),
            "connections": dict(self._connections()),
            **self._lately(lambda look: look.all),
        }

    def site(self, name: str) -> Document | None:
        """One site; None if it has no figures of its own, as none has that nobody asked for yet."""
        if not self._looks or name not in self._looks[-1].sites:
            return None
        return self._lately(lambda look: look.sites.get(name, _NOTHING))

    def address(self, name: str) -> Document | None:
        """One upstream address, over all routes it serves; None as for a site. Its times are those to the head."""
        if not self._looks or name not in self._looks[-1].addresses:
            return None
        told = self._lately(lambda look: look.addresses.get(name, _NOTHING))
        return {key: told[key] for key in ("requests", "rate", "p50", "p95")}

    def _lately(self, figures: Callable[[_Look], _Figures]) -> Document:
        looks = [(look.at, figures(look)) for look in self._looks]
        until, new = looks[-1] if looks else (0.0, _NOTHING)
        since, old = looks[max(0, len(looks) - 1 - _WINDOW_LOOKS)] if looks else (0.0, _NOTHING)
        times = [late - early for late, early in zip(new.times, old.times, strict=True)]
        return {
            "requests": new.requests,
            "errors": new.errors,
            "rate": _rate(new.requests - old.requests, until - since),
            "error_rate": _rate(new.errors - old.errors, until - since),
            "p50": quantile(times, 0.5),
            "p95": quantile(times, 0.95),
            "rates": [_rate(b.requests - a.requests, then - at) for (at, a), (then, b) in pairwise(looks)],
        }


def quantile(times: Sequence[int], part: float) -> float | None:
    """
    The seconds within which ``part`` of the requests were done, guessed between the bounds as Prometheus does.

    ``times`` as `Histogram.counts`. None without any request; the last bound for what is beyond it.
    """
    total = sum(times)
    if not total:
        return None
    wanted, passed, low = part * total, 0, 0.0
    for count, bound in zip(times, BOUNDS, strict=False):
        if count and passed + count >= wanted:
            return round(low + (bound - low) * (wanted - passed) / count, 4)
        passed += count
        low = bound
    return BOUNDS[-1]


def _site(site: SiteCounts, requests: int) -> _Figures:
    errors = sum(count for (_, status), count in site.requests.items() if status >= 500)
    return _Figures(requests, errors, tuple(site.times.counts))


def _address(times: Histogram, before: _Figures | None) -> _Figures:
    requests = sum(times.counts)
    return before if before is not None and before.requests == requests else _Figures(requests, 0, tuple(times.counts))


def _gone_on(total: _Figures, changed: Sequence[tuple[_Figures, _Figures]]) -> _Figures:
    """The total, gone on by as much as these have since: what they are, and what they were."""
    requests = sum(new.requests - old.requests for new, old in changed)
    errors = sum(new.errors - old.errors for new, old in changed)
    new_times = map(sum, zip(total.times, *(new.times for new, _ in changed), strict=True))
    old_times = map(sum, zip(_NOTHING.times, *(old.times for _, old in changed), strict=True))
    return _Figures(total.requests + requests, total.errors + errors, tuple(map(sub, new_times, old_times)))


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 3) if seconds > 0 else 0.0
