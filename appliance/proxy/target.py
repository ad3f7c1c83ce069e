"""What answers the requests of a route: an application behind it, a redirect, a page, a folder of files.

Targets are made to be wrapped. A *gate* is a target that looks at a request, answers it on the spot or lets the next
one begin; another kind hands the next one a `Client` of its own in front of the connection, to change what passes
through (see `serving.Downstream`). A route that uses none of that has nothing to pay for it.
"""

from __future__ import annotations

from typing import Any, Protocol

from appliance.http.message import RequestHead
from appliance.http.serving import Client, Exchange
from appliance.proxy.routing import RouteEntry


class Target(Protocol):
    """What answers a route. One object serves all requests of its routes, over HTTP/1.1 and HTTP/2 alike."""

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> Exchange | None:
        """Answer on the spot, by ``answer`` or ``fail``, and return None; or return the exchange that will.

        An exchange is told of what came of the request's body, and then to start; until then it says nothing.
        ``route`` is the one that matched, whose ``rewrite`` gives the target without a prefix that is to be stripped;
        ``origin`` are the lines that tell an application where the request came from.
        """


class NotFound:
    """For the paths of a site that no route is for."""

    __slots__ = ()

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> None:
        """See Target."""
        connection.fail(404)
