"""Routes that need no application: redirects and fixed answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from appliance.config.site import Redirect, Respond
from appliance.http.message import NO_BODY, Fields, RequestHead, ResponseHead
from appliance.http.serving import Client
from appliance.proxy.routing import RouteEntry

_WITHOUT_LENGTH = (204, 304)
"""Their heads say that there is no body (RFC 9110 section 8.6)."""


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:  # one that nobody has registered
        return b""


class Redirection:
    """Sends clients somewhere else; see config.site.Redirect."""

    __slots__ = ("_reason", "_status", "_to")

    def __init__(self, redirect: Redirect) -> None:
        self._status = redirect.status
        self._reason = _reason(redirect.status)
        self._to = redirect.to.encode("ascii")

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> None:
        """See Target."""
        target = route.rewrite(request.target) if request.target != b"*" else b"/"
        location = self._to.replace(b"{host}", request.host).replace(b"{path}", target)
        connection.answer(_page(self._status, self._reason, [(b"Location", location)], b""))


class ToName:
    """Sends clients to another name of the same site; path, query and port stay."""

    __slots__ = ("_name",)

    def __init__(self, name: bytes) -> None:
        """``name`` as it stands in a URL."""
        self._name = name

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> None:
        """See Target."""
        _, colon, port = request.authority.rpartition(b":")
        name = self._name + b":" + port if colon and port.isdigit() and port != b"443" else self._name
        target = request.target if request.target != b"*" else b"/"
        connection.answer(_page(308, _reason(308), [(b"Location", b"https://%b%b" % (name, target))], b""))


class FixedAnswer:
    """Says the same to everybody; see config.site.Respond."""

    __slots__ = ("_body", "_fields", "_reason", "_status")

    def __init__(self, respond: Respond) -> None:
        self._status = respond.status
        self._reason = _reason(respond.status)
        self._body = respond.body.encode("utf-8")
        self._fields: Fields = [(b"Content-Type", respond.content_type.encode("ascii"))] if respond.body else []

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> None:
        """See Target."""
        connection.answer(_page(self._status, self._reason, list(self._fields), self._body))


def _page(status: int, reason: bytes, fields: Fields, body: bytes) -> tuple[ResponseHead, bytes]:
    head = ResponseHead(status, reason)
    head.fields = fields
    head.framing = len(body) or NO_BODY
    if not body and status not in _WITHOUT_LENGTH:
        head.stated_length = 0
    return head, body
