"""The answers the appliance gives by itself that are no errors."""

from __future__ import annotations

from appliance.http import pages


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
