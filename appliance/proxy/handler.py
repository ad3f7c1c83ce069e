"""What becomes of a request on each listener: a challenge's answer, a page, a redirect, or an exchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from appliance.http import pages
from appliance.http.errorpages import ErrorPages, Identify
from appliance.http.headers import origin_fields
from appliance.http.message import RequestHead
from appliance.http.serving import Client, Exchange
from appliance.proxy.routing import RouteTable, SiteRoutes
from appliance.proxy.target import Target
from appliance.proxy.trust import TrustedProxies

_CHALLENGE_PREFIX = b"/.well-known/acme-challenge/"


class Challenges(Protocol):
    """The table of challenges being presented: `acme.challenges.PendingChallenges`."""

    def answer(self, path: bytes) -> bytes | None:
        """The key authorization for exactly this path, or None."""


class Served(Protocol):
    """The certificate a connection was opened with: `tls.snimap.ServedCertificate`."""

    def covers(self, host: str) -> bool:
        """Whether it is for this host."""


def answer_challenge(challenges: Challenges, connection: Client, request: RequestHead) -> bool:
    """Answer an HTTP-01 request for a token being presented (RFC 8555 section 8.3); False: an ordinary request."""
    if not request.target.startswith(_CHALLENGE_PREFIX) or request.method not in (b"GET", b"HEAD"):
        return False
    answer = challenges.answer(request.target)
    if answer is None:
        return False
    connection.answer(pages.plain(answer))
    return True


class RedirectHandler:
    """The plain HTTP listener's: challenges first, and everything else belongs on https."""

    def __init__(self, challenges: Challenges, https_port: int = 443) -> None:
        self.errors = ErrorPages()
        self._challenges = challenges
        self.https_port = https_port
        """Where it is spoken; may be changed at any time, as ``errors`` may."""

    def handle(self, connection: Client, request: RequestHead) -> None:
        """See http.serving.Handler."""
        if answer_challenge(self._challenges, connection, request):
            return
        target = request.target if request.target != b"*" else b"/"
        port = b"" if self.https_port == 443 else b":%d" % self.https_port
        connection.answer(pages.redirect(b"https://%b%b%b" % (request.host, port, target)))


class RequestId:
    """Tells applications the id that a request has in the access log, in a header field that clients cannot set."""

    def __init__(self, name: str, identify: Identify) -> None:
        self._name = name.encode("ascii")
        self._lower = self._name.lower()
        self._identify = identify

    def field(self, request: RequestHead) -> bytes:
        """The field's line. What the client sent under that name is dropped."""
        request.fields = [field for field in request.fields if field[0].lower() != self._lower]
        return b"%b: %b\r\n" % (self._name, self._identify(request).encode("ascii"))


class _Memo:
    """What stays true from one request of a connection to the next, while host and routes are the same."""

    __slots__ = ("authority", "origin", "site", "table")

    def __init__(self, authority: bytes, table: RouteTable[Target], site: SiteRoutes[Target], origin: bytes):
        self.authority = authority
        self.table = table
        self.site = site
        self.origin = origin


class ProxyHandler:
    """The HTTPS listener's: finds the site and the route, whose target does the rest.

    ``routes`` may be replaced at any time. ``served`` tells the certificate of a connection's transport.
    """

    def __init__(
        self,
        routes: RouteTable[Target],
        challenges: Challenges,
        served: Callable[[Any], Served | None],
        proxies: TrustedProxies | None = None,
        request_id: RequestId | None = None,
    ) -> None:
        self.errors = ErrorPages()
        self.routes = routes
        self._challenges = challenges
        self._served = served
        self._proxies = proxies or TrustedProxies()
        self.request_id = request_id

    def handle(self, connection: Client, request: RequestHead) -> Exchange | None:
        """See http.serving.Handler."""
        if answer_challenge(self._challenges, connection, request):
            return None
        memo: _Memo | None = connection.memo
        if memo is None or memo.authority != request.authority or memo.table is not self.routes:
            memo = self._look_up(connection, request)
            if memo is None:
                return None
        request.site = memo.site.name
        route = memo.site.find(request.target)
        if route is None:
            connection.fail(404)
            return None
        origin = memo.origin
        if request.forwarding and connection.client in self._proxies:
            origin = origin_fields(
                connection.client, connection.scheme, request.authority, connection.port, request.forwarding
            )
        if self.request_id is not None:
            origin += self.request_id.field(request)
        return route.target.begin(connection, request, route, origin)

    def _look_up(self, connection: Client, request: RequestHead) -> _Memo | None:
        """Find the site, or answer why there is none: 404 for a name not served, 421 for one not on this connection."""
        site = self.routes.find(request.host)
        if site is None:
            connection.fail(404)
            return None
        served = self._served(connection.transport)
        if served is None or not served.covers(request.host.decode("ascii")):
            connection.fail(421)
            return None
        origin = origin_fields(connection.client, connection.scheme, request.authority, connection.port)
        memo = _Memo(request.authority, self.routes, site, origin)
        connection.memo = memo
        return memo
