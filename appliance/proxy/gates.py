"""Targets in front of targets: each looks at a request, and answers it or lets the next one begin; see `target`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from math import ceil
from typing import Any

from appliance.http.message import Fields, RequestHead
from appliance.http.serving import Client, Exchange
from appliance.proxy.edits import FieldEdit
from appliance.proxy.ratelimit import Limiter
from appliance.proxy.routing import RouteEntry
from appliance.proxy.target import Target
from appliance.proxy.trust import TrustedProxies, household, within


class AddressGate:
    """Lets in who has the right address. A client whose address cannot be known has not."""

    def __init__(self, allow: Iterable[str], deny: Iterable[str], proxies: TrustedProxies, behind: Target) -> None:
        """``allow`` and ``deny`` are networks; what is in both is denied; without any to allow, all others are."""
        self._allow = tuple(map(ip_network, allow))
        self._deny = tuple(map(ip_network, deny))
        self._proxies = proxies
        self._behind = behind
        self._admits = lru_cache(1024)(self._judge)

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> Exchange | None:
        """See Target."""
        if not self._admits(self._proxies.client(connection.client, request.forwarding)):
            connection.fail(403)
            return None
        return self._behind.begin(connection, request, route, origin)

    def _judge(self, client: str) -> bool:
        if not client:
            return False
        address = ip_address(client)
        return not within(address, self._deny) and (not self._allow or within(address, self._allow))


class RateGate:
    """Lets in as many requests of a client as there may be (RFC 6585 section 4)."""

    __slots__ = ("_behind", "_limiter", "_proxies")

    def __init__(self, limiter: Limiter, proxies: TrustedProxies, behind: Target) -> None:
        self._limiter = limiter
        self._proxies = proxies
        self._behind = behind

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> Exchange | None:
        """See Target. All clients whose address cannot be known are one."""
        wait = self._limiter.take(household(self._proxies.client(connection.client, request.forwarding)))
        if wait:
            connection.fail(429, fields=[(b"Retry-After", b"%d" % ceil(wait))])
            return None
        return self._behind.begin(connection, request, route, origin)


class RequestEdits:
    """Changes the header fields that an application gets."""

    __slots__ = ("_behind", "_edit")

    def __init__(self, edit: FieldEdit, behind: Target) -> None:
        self._edit = edit
        self._behind = behind

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> Exchange | None:
        """See Target."""
        self._edit.apply(request)
        return self._behind.begin(connection, request, route, origin)


class ResponseEdits:
    """Has the header fields of the answer changed, whoever gives it; the outermost of all."""

    __slots__ = ("_behind", "_edit")

    def __init__(self, edit: FieldEdit, behind: Target) -> None:
        self._edit = edit
        self._behind = behind

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> Exchange | None:
        """See Target."""
        request.response_edit = self._edit
        return self._behind.begin(connection, request, route, origin)


class Closed:
    """Stands before nothing: the site is being worked on."""

    __slots__ = ("_fields",)

    def __init__(self, retry_after: int) -> None:
        """``retry_after``: seconds."""
        self._fields: Fields = [(b"Retry-After", b"%d" % retry_after)]

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> None:
        """See Target."""
        connection.fail(503, fields=self._fields)
