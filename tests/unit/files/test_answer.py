"""Heads and bodies of answers from files."""

from __future__ import annotations

import pytest

from appliance.files.answer import Refusal, answer
from appliance.files.conditions import http_date
from appliance.files.selection import Representation
from appliance.files.tree import File
from appliance.http.http1 import read_response, write_response
from appliance.http.message import RequestHead, ResponseHead

NOW = 1_800_000_000
MODIFIED = 1_700_000_000
FILE = File(3, 100, MODIFIED * 10**9 + 5)
TAG = b'"%x-64"' % FILE.mtime_ns


def ask(
    method: bytes = b"GET",
    representation: Representation = Representation(FILE, b"text/plain"),  # noqa: B008
    cache_control: bytes | None = None,
    **fields: bytes,
) -> tuple[ResponseHead, list[object]]:
    """The answer to a request with these fields, ``_`` in their names for ``-``."""
    request = RequestHead(method, b"/a", 1)
    request.fields = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    head, pieces = answer(request, representation, cache_control, NOW, b"BB")
    return head, list(pieces)


def test_whole() -> None:
    """All of it, with what a later request may refer to."""
    head, pieces = ask(cache_control=b"max-age=5")
    assert (head.status, head.framing, pieces) == (200, 100, [(0, 100)])
    assert dict(head.fields) == {
        b"Date": http_date(NOW),
        b"ETag": TAG,
        b"Last-Modified": http_date(MODIFIED),
        b"Cache-Control": b"max-age=5",
        b"X-Content-Type-Options": b"nosniff",
        b"Accept-Ranges": b"bytes",
        b"Content-Type": b"text/plain",
    }


def test_head() -> None:
    """As GET, without the body, ranges or not."""
    for fields in ({}, {"Range": b"bytes=0-1"}):
        head, pieces = ask(b"HEAD", **fields)
        assert (head.status, pieces) == (200, [])
        sent = read_response(write_response(head, 1, True), b"HEAD")
        assert (sent.framing, sent.stated_length) == (0, 100)


def test_empty() -> None:
    """An empty file has a length as well; no part of it can be had."""
    empty = Representation(File(3, 0, 0), b"text/plain")
    head, pieces = ask(representation=empty)
    assert (head.status, head.stated_length, pieces) == (200, 0, [])
    with pytest.raises(Refusal):
        ask(representation=empty, Range=b"bytes=0-")


def test_coded() -> None:
    """A coded representation says so and has a tag of its own; 304 keeps what caches need."""
    coded = Representation(FILE, b"text/css", b"br", b"Accept-Encoding")
    head, _ = ask(representation=coded)
    fields = dict(head.fields)
    assert (fields[b"Content-Encoding"], fields[b"Vary"]) == (b"br", b"Accept-Encoding")
    assert fields[b"ETag"] == TAG[:-1] + b'-br"'
    head, pieces = ask(representation=coded, If_None_Match=fields[b"ETag"], cache_control=b"no-cache")
    assert (head.status, head.framing, head.stated_length, pieces) == (304, 0, None, [])
    assert [name for name, _ in head.fields] == [b"Date", b"ETag", b"Last-Modified", b"Cache-Control", b"Vary"]
    assert ask(representation=coded, If_None_Match=TAG)[0].status == 200


def test_from_the_future() -> None:
    """A file that claims to be newer than now is of now (RFC 9110 section 8.8.2.1)."""
    head, _ = ask(representation=Representation(File(3, 1, (NOW + 100) * 10**9), b"text/css"))
    assert dict(head.fields)[b"Last-Modified"] == http_date(NOW)


def test_failed() -> None:
    """A condition that does not hold."""
    with pytest.raises(Refusal) as refused:
        ask(If_Match=b'"x"')
    assert (refused.value.status, refused.value.fields) == (412, [])


def test_one_range() -> None:
    """A part, if it is of this version."""
    head, pieces = ask(Range=b"bytes=10-19")
    assert (head.status, head.framing, pieces) == (206, 10, [(10, 20)])
    assert dict(head.fields)[b"Content-Range"] == b"bytes 10-19/100"
    assert ask(Range=b"bytes=10-19", If_Range=TAG)[0].status == 206
    assert ask(Range=b"bytes=10-19", If_Range=b'"x"')[1] == [(0, 100)]


def test_several_ranges() -> None:
    """Parts in one body, whose length is known."""
    head, pieces = ask(Range=b"bytes=0-1,-1")
    assert head.status == 206
    assert dict(head.fields)[b"Content-Type"] == b"multipart/byteranges; boundary=BB"
    assert b"Content-Range" not in dict(head.fields)
    assert (pieces[1], pieces[3], len(pieces)) == ((0, 2), (99, 100), 5)
    assert head.framing == 3 + sum(len(piece) for piece in pieces if isinstance(piece, bytes))


def test_no_range() -> None:
    """What is not there, and what is not understood."""
    with pytest.raises(Refusal) as refused:
        ask(Range=b"bytes=100-")
    assert (refused.value.status, refused.value.fields) == (416, [(b"Content-Range", b"bytes */100")])
    assert ask(Range=b"pages=1")[0].status == 200
