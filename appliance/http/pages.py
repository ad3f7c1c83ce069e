"""The few answers the appliance gives by itself that are no errors, ready as heads and bodies."""

from __future__ import annotations

from http import HTTPStatus

from appliance.http.message import Fields, ResponseHead


def _head(status: int, body: bytes, fields: Fields) -> ResponseHead:
    head = ResponseHead(status, HTTPStatus(status).phrase.encode("ascii"))
    head.fields = fields
    head.framing = len(body)
    if not body:
        head.stated_length = 0
    return head


def redirect(location: bytes) -> tuple[ResponseHead, bytes]:
    """A 308, which keeps method and body (RFC 9110 section 15.4.9)."""
    return _head(308, b"", [(b"Location", location)]), b""


def plain(body: bytes) -> tuple[ResponseHead, bytes]:
    """A 200 of bytes that no browser should interpret: a key authorization (RFC 8555 section 8.3)."""
    return _head(200, body, [(b"Content-Type", b"application/octet-stream"), (b"Cache-Control", b"no-store")]), body
