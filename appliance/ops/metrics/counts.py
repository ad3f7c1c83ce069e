"""What is counted of requests and handshakes: plain numbers, made into metrics when asked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

from appliance.http.message import RequestHead

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the times that are told apart, in seconds."""

METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"})
"""Whatever else clients come up with is counted as one."""

OTHER_METHOD = b"other"
NO_SITE = "(none)"
"""Requests that were answered before, or for want of, a site."""
THE_OTHERS = "(others)"
"""Sites or addresses beyond the number that have figures of their own."""

SWITCHED = 101
"""The status of tunnels, which last as long as they like."""

_MOST_PAIRS = 64
FAULTS: Final = frozenset({"client", "connect", "tls", "http2", "local", "queue", "send", "head", "body", "file"})
"""By whom or where requests are broken off; ``docs/metrics.rst`` explains them."""


Kind = tuple[str, str, bytes, int]
"""Site, upstream's address, method and status: see `http.message.RequestHead`."""


class _Tally:
    """The requests of one kind in a batch."""

    __slots__ = ("bytes_in", "bytes_out", "faults", "seconds", "upstream_seconds")

    def __init__(self) -> None:
        self.seconds: list[float] = []
        """How long each took."""
        self.upstream_seconds: list[float] = []
        """From sending it to the beginning of the response, for those that had one."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.faults: list[str] = []
        """Of those that were broken off."""


class Histogram:
    """How many took how long."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        """For each of `BOUNDS`, those up to it and above the one before; then the rest."""
        self.seconds = 0.0
        """All together."""

    def add(self, times: Sequence[float]) -> None:
        """So many more, each with its seconds; at least one."""
        self.seconds += sum(times)
        if max(times) <= BOUNDS[0]:  # as is usual
            self.counts[0] += len(times)
            return
        ordered, counts, before = sorted(times), self.counts, 0
        for number, bound in enumerate(BOUNDS):
            if before == len(ordered):
                break
            until = bisect_right(ordered, bound)
            counts[number] += until - before
            before = until
        counts[-1] += len(ordered) - before


class SiteCounts:
    """One site's requests."""

    __slots__ = ("bytes_in", "bytes_out", "faults", "requests", "times")

    def __init__(self) -> None:
        self.requests: dict[tuple[bytes, int], int] = {}
        """By method and status."""
        self.faults: dict[str, int] = {}
        """Those that were broken off or not answered, by whom or where."""
        self.times = Histogram()
        """From the request's head to the response's end; tunnels are not in it."""
        self.bytes_in = 0
        self.bytes_out = 0


class Counts:
    """Everything since the start of the process. ``most`` sites and ``most`` addresses have figures of their own."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._own = 0
        self.sites: dict[str, SiteCounts] = {}
        """By name, `NO_SITE` and `THE_OTHERS` among them."""
        self.upstreams: dict[str, Histogram] = {}
        """By address: from sending a request to the beginning of the response."""
        self.handshakes: dict[str, int] = {}
        """By TLS version."""
        self.failed_handshakes: dict[str, int] = {}
        """By reason."""
        self.reloads = {"success": 0, "failure": 0}
        self.reloaded_at: float | None = None
        """Seconds since the epoch of the last good one."""

    def requests(self, batch: Sequence[RequestHead]) -> None:
        """These requests have ended."""
        for (name, address, method, status), tally in _tally(batch).items():
            site = self.sites.get(name) or self.new_site(name)
            count_pair(site.requests, method, status, len(tally.seconds))
            if status != SWITCHED:
                site.times.add(tally.seconds)
            if tally.upstream_seconds:
                (self.upstreams.get(address) or self.new_upstream(address)).add(tally.upstream_seconds)
            site.bytes_in += tally.bytes_in
            site.bytes_out += tally.bytes_out
            for fault in tally.faults:
                known = fault if fault in FAULTS else "other"
                site.faults[known] = site.faults.get(known, 0) + 1

    def new_site(self, name: str) -> SiteCounts:
        """The counts of a site that has none yet, or that shares them."""
        if not name:
            name = NO_SITE
        elif self._own < self.most:
            self._own += 1
        else:
            name = THE_OTHERS
        return self.sites.setdefault(name, SiteCounts())

    def new_upstream(self, address: str) -> Histogram:
        """The times of an address that has none yet, or that shares them."""
        name = address if len(self.upstreams) < self.most else THE_OTHERS
        return self.upstreams.setdefault(name, Histogram())

    def handshake_completed(self, version: str) -> None:
        """One more that agreed on this version of TLS."""
        self.handshakes[version] = self.handshakes.get(version, 0) + 1

    def handshake_failed(self, reason: str) -> None:
        """One more that failed for this, one of a few words."""
        self.failed_handshakes[reason] = self.failed_handshakes.get(reason, 0) + 1

    def clear(self) -> None:
        """Begin again at nothing; what is said of reloads stays."""
        self._own = 0
        self.sites.clear()
        self.upstreams.clear()
        self.handshakes.clear()
        self.failed_handshakes.clear()

    def reloaded(self, at: float, good: bool) -> None:
        """The configuration was read anew, ``at`` seconds since the epoch, and applied if it was ``good``."""
        self.reloads["success" if good else "failure"] += 1
        if good:
            self.reloaded_at = at


def _tally(batch: Sequence[RequestHead]) -> Mapping[Kind, _Tally]:
    tallies: dict[Kind, _Tally] = {}
    for request in batch:
        kind = request.site, request.upstream, request.method, request.status
        tally = tallies.get(kind)
        if tally is None:
            tally = tallies[kind] = _Tally()
        tally.seconds.append(request.ended - request.started)
        if request.fault:
            tally.faults.append(request.fault)
            if request.answered and request.sent:
                tally.upstream_seconds.append(request.answered - request.sent)
        elif request.sent:
            tally.upstream_seconds.append((request.answered or request.ended) - request.sent)
        tally.bytes_in += request.bytes_in
        tally.bytes_out += request.bytes_out
    return tallies


def count_pair(requests: dict[tuple[bytes, int], int], method: bytes, status: int, count: int = 1) -> None:
    """So many more of a pair that is new, or that has no figure of its own.

    Whatever applications and clients do, the pairs stay few: beyond a bound, only classes of statuses are told apart.
    """
    if method not in METHODS:  # or empty, for what was no request
        method = OTHER_METHOD
    if (method, status) not in requests and len(requests) >= _MOST_PAIRS:
        method, status = OTHER_METHOD, status // 100 * 100
    requests[method, status] = requests.get((method, status), 0) + count
