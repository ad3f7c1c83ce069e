"""From sites to the table of their routes: the one place that decides what answers which request, and in which order.

What a request of a site passes, from the outside in: edits of the response's header, the addresses allowed, the rate
limits, the maintenance page if that is on, the password, edits of the request's header, and what the route leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred

from appliance.config import Route, Site
from appliance.config.site import BasicAuth, HeaderEdits, RateLimit, Rules
from appliance.files.target import FileTargets
from appliance.proxy.answers import FixedAnswer, Redirection, ToName
from appliance.proxy.basicauth import AuthGate, Verifications
from appliance.proxy.compressing import Compressed
from appliance.proxy.credentials import Credentials
from appliance.proxy.edits import FieldEdit
from appliance.proxy.gates import AddressGate, Closed, RateGate, RequestEdits, ResponseEdits
from appliance.proxy.handler import ProxyHandler
from appliance.proxy.proxied import Proxied
from appliance.proxy.ratelimit import Limiter
from appliance.proxy.routing import RouteEntry, RouteTable, SiteRoutes
from appliance.proxy.target import NotFound, Target
from appliance.proxy.trust import TrustedProxies
from appliance.proxy.upstream import Upstream

Upstreams = Mapping[tuple[str, str], Upstream]
"""By site name and path."""

RETRY_AFTER = 300
"""Seconds after which clients are asked to come back to a site in maintenance."""

_NO_RULES = Rules()


class Assembly:
    """Gives the handler its routes, and may be asked to again at any time, with other sites.

    What lasts from one set of sites to the next, for those that stay as they were, is kept here: who has sent how much,
    whose password was right.
    """

    def __init__(
        self,
        handler: ProxyHandler,
        proxies: TrustedProxies,
        seconds: Callable[[], float],
        defer: Callable[[Callable[[], Any]], Deferred[Any]],
        files: FileTargets,
    ) -> None:
        """``seconds`` is the monotonic clock; ``defer`` runs something in a thread."""
        self._handler = handler
        self._proxies = proxies
        self._seconds = seconds
        self._files = files
        self._verifications = Verifications(defer)
        # What no routes use any more goes with them.
        self._limiters: WeakValueDictionary[tuple[str, str | None], Limiter] = WeakValueDictionary()
        self._credentials: WeakValueDictionary[BasicAuth, Credentials] = WeakValueDictionary()
        self._sites: Sequence[Site] = ()
        self._upstreams: Upstreams = {}
        self._closed: frozenset[str] = frozenset()

    @property
    def sites(self) -> Sequence[Site]:
        """Those that requests go by."""
        return self._sites

    def serve(self, sites: Sequence[Site], upstreams: Upstreams) -> None:
        """From now on requests go by these sites. ``upstreams`` has one for each route that leads to applications."""
        self._sites, self._upstreams = sites, upstreams
        self._handler.routes = RouteTable(self._routes(sites))

    def close(self, closed: frozenset[str]) -> None:
        """Have these sites, by name, in maintenance, and no others but those whose configuration says so."""
        changed = self._closed ^ closed
        self._closed = closed
        routes = self._routes(site for site in self._sites if site.name in changed)
        self._handler.routes = self._handler.routes.changed(routes)

    def _routes(self, sites: Iterable[Site]) -> dict[bytes, SiteRoutes[Target]]:
        found: dict[bytes, SiteRoutes[Target]] = {}
        for site in sites:
            routes = self._site(site)
            others = routes if site.redirect_to is None else self._to_name(site, site.redirect_to)
            for name in site.names:
                found[in_url(name)] = routes if site.redirect_to in (None, name) else others
        return found

    def _site(self, site: Site) -> SiteRoutes[Target]:
        entries = [
            RouteEntry(route.path.encode("ascii"), self._route(site, route), route.strip_prefix)
            for route in site.routes
        ]
        if all(entry.prefix != b"/" for entry in entries):
            entries.append(RouteEntry(b"/", self._guarded(site, "/", _NO_RULES, NotFound())))
        return SiteRoutes(site.name, entries)

    def _to_name(self, site: Site, name: str) -> SiteRoutes[Target]:
        target = _edited(site, _NO_RULES, ToName(in_url(name)))
        return SiteRoutes(site.name, [RouteEntry(b"/", target)])

    def _route(self, site: Site, route: Route) -> Target:
        target: Target
        if route.redirect is not None:
            target = Redirection(route.redirect)
        elif route.respond is not None:
            target = FixedAnswer(route.respond)
        elif route.root is not None:
            target = self._files.target(site.name, route.path, route.root)
        else:
            target = Proxied(self._upstreams[site.name, route.path])
        return self._guarded(site, route.path, route.rules, target)

    def _guarded(self, site: Site, path: str, rules: Rules, target: Target) -> Target:
        """The target behind all that holds for it, from the inside out."""
        if site.maintenance or site.name in self._closed:
            target = Closed(RETRY_AFTER)
        else:
            edits = _both(site.rules.request_headers, rules.request_headers)
            if edits:
                target = RequestEdits(FieldEdit(edits), target)
            auth = site.rules.basic_auth if rules.basic_auth is None else rules.basic_auth
            if auth:
                target = AuthGate(self._credentials_for(auth), self._verifications, self._proxies, target)
        for key, limit in (((site.name, path), rules.rate_limit), ((site.name, None), site.rules.rate_limit)):
            if limit is not None:
                target = RateGate(self._limiter(key, limit), self._proxies, target)
        for each in (rules, site.rules):
            if each.allow or each.deny:
                target = AddressGate(each.allow, each.deny, self._proxies, target)
        if site.rules.compress if rules.compress is None else rules.compress:
            target = Compressed(target, self._files.later)
        return _edited(site, rules, target)

    def _limiter(self, key: tuple[str, str | None], limit: RateLimit) -> Limiter:
        limiter = self._limiters.get(key)
        if limiter is None or limiter.limit != limit:
            limiter = self._limiters[key] = Limiter(limit, self._seconds)
        return limiter

    def _credentials_for(self, auth: BasicAuth) -> Credentials:
        credentials = self._credentials.get(auth)
        if credentials is None:
            credentials = self._credentials[auth] = Credentials(auth)
        return credentials


def in_url(name: str) -> bytes:
    """A site's name as it stands in URLs, and hence in ``Host``."""
    return (f"[{name}]" if ":" in name else name).encode("ascii")


def _edited(site: Site, rules: Rules, target: Target) -> Target:
    """Have the responses' header changed as the site and the route want it; the route has the last word."""
    edits = _both(site.rules.response_headers, rules.response_headers)
    if site.hsts is not None:
        edits.insert(0, HeaderEdits(set=(("Strict-Transport-Security", str(site.hsts)),)))
    return ResponseEdits(FieldEdit(edits), target) if edits else target


def _both(of_site: HeaderEdits | None, of_route: HeaderEdits | None) -> list[HeaderEdits]:
    return [edits for edits in (of_site, of_route) if edits is not None]
