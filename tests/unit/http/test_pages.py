"""The answers the appliance gives by itself."""

from __future__ import annotations

import pytest

from appliance.http import pages
from appliance.http.http1 import read_response, write_response


@pytest.mark.parametrize("status", [400, 404, 405, 408, 413, 414, 417, 421, 431, 501, 502, 503, 504, 505])
def test_error(status: int) -> None:
    """Every status that the appliance answers has a short page that says what happened and is never stored."""
    head, body = pages.error(status)
    again = read_response(write_response(head, 1, True), b"GET")
    assert (again.status, again.framing) == (status, len(body))
    assert dict(again.fields) == {b"Content-Type": b"text/html; charset=utf-8", b"Cache-Control": b"no-store"}
    assert b"<title>%d " % status in body
    assert len(body) < 1024


def test_error_pages_are_apart() -> None:
    """Changing one answer's fields changes no other's."""
    first, second = pages.error(502)[0], pages.error(502)[0]
    first.fields.append((b"X", b"y"))
    assert second.fields != first.fields


def test_redirect() -> None:
    """A redirect keeps the method, and says that nothing follows."""
    head, body = pages.redirect(b"https://example.com/a?b")
    assert (head.status, body, head.stated_length) == (308, b"", 0)
    assert head.fields == [(b"Location", b"https://example.com/a?b")]


def test_plain() -> None:
    """A key authorization comes as bytes that no browser interprets."""
    head, body = pages.plain(b"token.thumbprint")
    assert (head.status, head.framing, body) == (200, 16, b"token.thumbprint")
    assert (b"Content-Type", b"application/octet-stream") in head.fields
