"""From sites to the table of their routes: the one place that decides what answers which request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from appliance.config import Route, Site
from appliance.proxy.handler import ProxyHandler
from appliance.proxy.proxied import Proxied
from appliance.proxy.routing import RouteEntry, RouteTable, SiteRoutes
from appliance.proxy.target import NotFound, Target
from appliance.proxy.upstream import Upstream

Upstreams = Mapping[tuple[str, str], Upstream]
"""By site name and path."""


class Assembly:
    """Gives the handler its routes, and may be asked to again at any time, with other sites.

    What lasts from one set of sites to the next, for those that stay as they were, is kept here.
    """

    def __init__(self, handler: ProxyHandler) -> None:
        self._handler = handler

    def serve(self, sites: Sequence[Site], upstreams: Upstreams) -> None:
        """From now on requests go by these sites. ``upstreams`` has one for each route that leads to applications."""
        table: dict[bytes, SiteRoutes[Target]] = {}
        for site in sites:
            routes = self._site(site, upstreams)
            for name in site.names:
                table[(f"[{name}]" if ":" in name else name).encode("ascii")] = routes
        self._handler.routes = RouteTable(table)

    def _site(self, site: Site, upstreams: Upstreams) -> SiteRoutes[Target]:
        entries = [
            RouteEntry(route.path.encode("ascii"), self._target(site, route, upstreams), route.strip_prefix)
            for route in site.routes
        ]
        if all(entry.prefix != b"/" for entry in entries):
            entries.append(RouteEntry(b"/", NotFound()))
        return SiteRoutes(site.name, entries)

    def _target(self, site: Site, route: Route, upstreams: Upstreams) -> Target:
        return Proxied(upstreams[site.name, route.path])
