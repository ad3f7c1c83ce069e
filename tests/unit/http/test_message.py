"""Heads are data, and have their fields as lines or as a list."""

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


def test_lines_and_fields() -> None:
    """Lines become a list for whoever asks, and a list lines; what was changed is what is passed on."""
    head = RequestHead(b"GET", b"/", 1)
    assert (head.fields, head.lines) == ([], b"")
    head.lines = b"A: b\r\nC: \r\nD: e: f\r\n"
    assert head.fields == [(b"A", b"b"), (b"C", b""), (b"D", b"e: f")]
    head.fields.append((b"G", b"h"))
    assert head.lines == b"A: b\r\nC: \r\nD: e: f\r\nG: h\r\n"
    head.fields = [(b"I", b"j")]
    assert head.lines == b"I: j\r\n"
    head.lines = b"K: l\r\n"
    assert head.fields == [(b"K", b"l")]


@pytest.mark.parametrize("looked_at", [False, True])
def test_first(looked_at: bool) -> None:
    """The first field of a name, whatever its case; a name is the whole of it, a value never taken for one."""
    head = ResponseHead(200, b"OK")
    head.lines = b"X-A: a: 1\r\na: 2\r\nA: 3\r\nB: \r\n"
    if looked_at:
        assert len(head.fields) == 4
    assert [head.first(name) for name in (b"x-a", b"a", b"b", b"c")] == [b"a: 1", b"2", b"", b""]
