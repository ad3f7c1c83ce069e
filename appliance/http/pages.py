"""The few answers the appliance gives by itself: errors and redirects, ready as heads and bodies."""

from __future__ import annotations

from http import HTTPStatus

from appliance.http.message import Fields, ResponseHead

_EXPLANATIONS = {
    400: "The request was not well-formed HTTP, so it was not passed on.",
    404: "No site of this name is served here.",
    405: "This method is not served here.",
    408: "The request did not arrive in time.",
    413: "The request body is larger than this server accepts.",
    414: "The request target is longer than this server accepts.",
    417: "The expectation named in the request cannot be met.",
    421: "This connection's certificate is for another site. Open a new connection to the name you want.",
    431: "The request header is larger than this server accepts.",
    501: "The request method is not known here.",
    502: "The application behind this site did not answer properly.",
    503: "This server is too busy at the moment.",
    504: "The application behind this site did not answer in time.",
    505: "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{status} {phrase}</title>
<style>:root{{color-scheme:light dark}}
body{{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem}}</style>
</head><body><h1>{status} {phrase}</h1><p>{explanation}</p></body></html>
"""


def _head(status: int, body: bytes, fields: Fields) -> ResponseHead:
    head = ResponseHead(status, HTTPStatus(status).phrase.encode("ascii"))
    head.fields = fields
    head.framing = len(body)
    if not body:
        head.stated_length = 0
    return head


def _error_body(status: int) -> bytes:
    phrase = HTTPStatus(status).phrase
    return _PAGE.format(status=status, phrase=phrase, explanation=_EXPLANATIONS[status]).encode()


_ERROR_BODIES = {status: _error_body(status) for status in _EXPLANATIONS}


def error(status: int) -> tuple[ResponseHead, bytes]:
    """The page for an error status: says what happened, and nothing that came from the client."""
    body = _ERROR_BODIES[status]
    return _head(status, body, [(b"Content-Type", b"text/html; charset=utf-8"), (b"Cache-Control", b"no-store")]), body


def redirect(location: bytes) -> tuple[ResponseHead, bytes]:
    """A 308, which keeps method and body (RFC 9110 section 15.4.9)."""
    return _head(308, b"", [(b"Location", location)]), b""


def plain(body: bytes) -> tuple[ResponseHead, bytes]:
    """A 200 of bytes that no browser should interpret: a key authorization (RFC 8555 section 8.3)."""
    return _head(200, body, [(b"Content-Type", b"application/octet-stream"), (b"Cache-Control", b"no-store")]), body
