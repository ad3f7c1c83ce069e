"""Routes that lead to an application."""

from __future__ import annotations

from typing import Any

from appliance.http.message import RequestHead
from appliance.http.serving import Client
from appliance.proxy.exchange import Exchange, Upstream
from appliance.proxy.routing import RouteEntry


class Proxied:
    """See target.Target: passes every request on to an upstream."""

    __slots__ = ("upstream",)

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> Exchange:
        """See Target."""
        if route.strip_prefix:
            origin += b"X-Forwarded-Prefix: %b\r\n" % route.prefix
        return Exchange(connection, request, self.upstream, route.rewrite(request.target), origin)
