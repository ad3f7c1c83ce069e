"""What a client is told when a request comes to nothing: a short page, or JSON, with the request's id.

The id is the one in the access log. Nothing that the client sent is ever repeated.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType

from appliance.http.message import Fields, RequestHead, ResponseHead
from appliance.http.negotiation import prefers_json

_EXPLANATIONS = {
    400: "The request was not well-formed HTTP, so it was not passed on.",
    401: "This is for those who can prove who they are.",
    403: "This is not for everybody.",
    404: "There is nothing at this address.",
    405: "This method is not served here.",
    408: "The request did not arrive in time.",
    412: "What is here is not what the request was made for.",
    413: "The request body is larger than this server accepts.",
    414: "The request target is longer than this server accepts.",
    416: "The part that was asked for is not there.",
    417: "The expectation named in the request cannot be met.",
    421: "This connection's certificate is for another site. Open a new connection to the name you want.",
    429: "That were too many requests. Please wait a little.",
    431: "The request header is larger than this server accepts.",
    500: "Something went wrong here.",
    501: "The request method is not known here.",
    502: "The application behind this site did not answer properly.",
    503: "This site cannot be served at the moment. Please come back in a while.",
    504: "The application behind this site did not answer in time.",
    505: "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{status} {reason}</title>
<style>:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem}
small{opacity:.6}</style>
</head><body><h1>{status} {reason}</h1><p>{explanation}</p><p><small>Request {request_id}</small></p></body></html>
"""

HTML = "html"
JSON = "json"
_TYPES = {HTML: b"text/html; charset=utf-8", JSON: b"application/problem+json"}

FILE_NAME = re.compile(r"(?:[45][0-9][0-9]|[45]xx|error)\.(?:html|json)")
"""What a template's file is called: ``502.html``, ``5xx.json``, ``error.html``."""

_PLACEHOLDER = re.compile(r"\{(status|reason|explanation|request_id)\}")

_OWN = 1 << 32
"""Where numbers of requests that nobody observes begin: a reload may have others observed, from 1 on."""

Identify = Callable[[RequestHead], str]
"""A request's id: letters, digits and dashes."""


class RequestIds:
    """Ids of requests, like no others' of this process or another: a prefix of the process and the request's number.

    While nobody observes requests they have no number; one that comes to nothing is given one here.
    """

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = prefix or secrets.token_hex(6) + "-"
        self._numbered = _OWN

    def __call__(self, request: RequestHead) -> str:
        """See Identify."""
        if not request.number:
            request.number = self._numbered = self._numbered + 1
        return f"{self.prefix}{request.number:x}"


class ErrorPages:
    """Makes the answer for an error status. ``templates`` are an operator's own pages, by `FILE_NAME`."""

    def __init__(self, templates: Mapping[str, str] = MappingProxyType({}), identify: Identify | None = None) -> None:
        self._templates = templates
        self.identify = identify or RequestIds()
        self._parts: dict[tuple[int, str], list[bytes]] = {}

    def answer(self, status: int, request: RequestHead, fields: Fields | tuple[()] = ()) -> tuple[ResponseHead, bytes]:
        """The head, with these ``fields`` among others, and the body."""
        kind = JSON if prefers_json(request.fields) else HTML
        parts = self._parts.get((status, kind))
        if parts is None:
            parts = self._parts[status, kind] = self._cut(status, kind)
        body = self.identify(request).encode("ascii").join(parts)
        head = ResponseHead(status, HTTPStatus(status).phrase.encode("ascii"))
        head.fields = [(b"Content-Type", _TYPES[kind]), (b"Cache-Control", b"no-store"), *fields]
        head.framing = len(body)
        return head, body

    def _cut(self, status: int, kind: str) -> list[bytes]:
        """The page, filled in as far as it is the same for all requests; their ids belong between the parts."""
        reason = HTTPStatus(status).phrase
        explanation = _EXPLANATIONS.get(status, f"{reason}.")
        names = (f"{status}.{kind}", f"{status // 100}xx.{kind}", f"error.{kind}")
        template = next((self._templates[name] for name in names if name in self._templates), None)
        if template is None:
            template = _PAGE if kind == HTML else _problem(status, reason, explanation)
        known = {"status": str(status), "reason": reason, "explanation": explanation}
        filled = _PLACEHOLDER.sub(lambda found: known.get(found[1], found[0]), template)
        return [part.encode("utf-8") for part in filled.split("{request_id}")]


def _problem(status: int, reason: str, explanation: str) -> str:
    """A problem document (RFC 9457)."""
    members = {"title": reason, "status": status, "detail": explanation, "request_id": "{request_id}"}
    return json.dumps(members) + "\n"
