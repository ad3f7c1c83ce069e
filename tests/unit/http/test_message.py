"""Heads are data; the one thing they work out is a target's path."""

from __future__ import annotations

import pytest

from appliance.http.message import NO_BODY, RequestHead, ResponseHead


@pytest.mark.parametrize(("target", "path"), [(b"/a?b=/c?d", b"/a"), (b"/a", b"/a"), (b"/?", b"/"), (b"*", b"*")])
def test_path(target: bytes, path: bytes) -> None:
    """The path is the target up to its first question mark."""
    assert RequestHead(b"GET", target, 1).path == path


@pytest.mark.parametrize("version", [0, 1])
def test_persistence_by_version(version: int) -> None:
    """Connections persist by default from HTTP/1.1 on (RFC 9112 section 9.3)."""
    assert RequestHead(b"GET", b"/", version).keep_alive is bool(version)
    assert ResponseHead(200, b"OK", version).keep_alive is bool(version)


def test_no_body_at_first() -> None:
    """Until told otherwise, a head has nothing after it."""
    assert RequestHead(b"GET", b"/", 1).framing == NO_BODY
    assert ResponseHead(200, b"OK").framing == NO_BODY
