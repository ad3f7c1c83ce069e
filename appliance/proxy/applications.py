"""The applications behind the sites: an upstream for every route with its health checks, kept for as long as it stays.

Changing them is done in two steps, so that what can fail does so before anything has changed: ``prepare`` makes what
is new, ``apply`` puts it in the place of the old. What is removed takes no new requests and ends by itself: requests
under way and tunnels have their connections to their end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import random
from typing import Any, TypeAlias

from attrs import evolve, frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred

from appliance.config import Backend, HealthCheck, Route, Site, Timeouts, UpstreamAddress
from appliance.errors import ApplianceError
from appliance.http.errorpages import Identify
from appliance.net.deadlines import Deadlines
from appliance.net.turn import Turn
from appliance.proxy.healthcheck import HealthChecks
from appliance.proxy.hostnames import HostNames
from appliance.proxy.http2pool import Http2Pool
from appliance.proxy.pool import Pool
from appliance.proxy.upstream import Upstream

Place: TypeAlias = tuple[str, str]
"""A site's name and a route's path."""


@frozen(eq=False)
class Application:
    """What a route leads to."""

    made_of: object
    """What the upstream was made of: equal for routes that can share it."""
    check: HealthCheck | None
    upstream: Upstream
    checks: tuple[HealthChecks, ...]


Prepared: TypeAlias = Mapping[Place, Application]
"""All applications of a configuration: those that stay, and those that are new."""


class Applications(MultiService):
    """The one owner of upstreams. Its children are the health checks, which run while it does."""

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        timeouts: Timeouts,
        random: Callable[[], float] = random,
        identify: Identify | None = None,
    ) -> None:
        """``random``, from 0 to below 1, spreads health checks; ``identify`` is an `Upstream`'s."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._deadlines = deadlines
        self._timeouts = timeouts
        self._random = random
        self._identify = identify
        self._names = HostNames(reactor)
        self._turns = Turn(reactor)
        self._current: Prepared = {}
        self.upstreams: Mapping[Place, Upstream] = {}
        """Those that get requests."""

    def prepare(self, sites: Sequence[Site]) -> Prepared:
        """The applications of ``sites``. Nothing is changed yet. Raises ApplianceError."""
        return {
            (site.name, route.path): self._application(site, route)
            for site in sites
            for route in site.routes
            if route.upstreams
        }

    def apply(self, prepared: Prepared, timeouts: Timeouts) -> None:
        """Have these from now on; ``timeouts`` are for connections that are opened from now on."""
        before, self._current = self._current, prepared
        self.upstreams = {place: application.upstream for place, application in prepared.items()}
        kept = {id(application.upstream) for application in prepared.values()}
        running = {id(check) for application in prepared.values() for check in application.checks}
        for place, application in prepared.items():
            if place in before and before[place].upstream is not application.upstream:
                application.upstream.take_over(before[place].upstream)
        for application in before.values():
            for check in application.checks:
                if id(check) not in running:
                    check.disownServiceParent()  # type: ignore[no-untyped-call]
            if id(application.upstream) not in kept:
                application.upstream.close()
        for application in prepared.values():
            for pool in application.upstream.pools:
                pool.timeouts = timeouts
            if not application.checks:
                application.upstream.unchecked()
            for check in application.checks:
                if check.parent is None:
                    check.setServiceParent(self)  # type: ignore[no-untyped-call]
        self._timeouts = timeouts

    def stopService(self) -> Deferred[None]:
        """Check nothing any more, and close what is idle: the rest when it becomes so."""
        stopped: Deferred[None] = super().stopService()  # type: ignore[no-untyped-call]
        for application in self._current.values():
            application.upstream.close()
        return stopped

    def _application(self, site: Site, route: Route) -> Application:
        before = self._current.get((site.name, route.path))
        made_of, check = _made_of(route), route.backend.health_check
        if before is None or before.made_of != made_of:
            upstream = self._upstream(site, route)
        elif before.check == check:
            return before
        else:
            upstream = before.upstream
        return Application(made_of, check, upstream, tuple(self._checks(site, check, upstream)))

    def _upstream(self, site: Site, route: Route) -> Upstream:
        name = site.name if route.path == "/" else f"{site.name}{route.path}"
        try:
            pools = [self._pool(address, route.backend) for address in route.upstreams]
            return Upstream(name, pools, route.backend, identify=self._identify)
        except (OSError, ValueError) as error:
            raise ApplianceError(f"{name}: upstream_ca_file {route.backend.ca_file} is of no use: {error}") from error

    def _pool(self, address: UpstreamAddress, backend: Backend) -> Pool:
        common = self._reactor, address, self._deadlines, self._timeouts, backend
        if address.http2 or backend.http2:
            return Http2Pool(*common, names=self._names, turns=self._turns)
        return Pool(*common, names=self._names)

    def _checks(self, site: Site, check: HealthCheck | None, upstream: Upstream) -> Iterator[HealthChecks]:
        if check is not None:
            host = site.name.replace("*", "health-check")
            for member in upstream.members:
                yield HealthChecks(member, check, host, self._random)


def _made_of(route: Route) -> object:
    """Weights count, by which addresses do not compare, and what is in the file of trusted certificates."""
    weights = tuple(address.weight for address in route.upstreams)
    trust = route.backend.ca_file
    try:
        trusted = trust.read_bytes() if trust is not None else b""
    except OSError:
        trusted = b""  # whoever makes the upstream says so
    return route.upstreams, weights, evolve(route.backend, health_check=None), trusted
