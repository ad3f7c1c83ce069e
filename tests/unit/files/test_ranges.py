"""Byte ranges."""

from __future__ import annotations

import pytest

from appliance.files.ranges import Span, content_range, length, multipart, wanted


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        (b"bytes=0-0", [(0, 1)]),
        (b"bytes=0-", [(0, 100)]),
        (b"bytes=99-", [(99, 100)]),
        (b"bytes=10-19", [(10, 20)]),
        (b"bytes=10-1000", [(10, 100)]),
        (b"bytes=-1", [(99, 100)]),
        (b"bytes=-1000", [(0, 100)]),
        (b"BYTES= 1-2", [(1, 3)]),
        (b"bytes=0-1, 5-6", [(0, 2), (5, 7)]),
        (b"bytes=5-6,0-1", [(5, 7), (0, 2)]),
        (b"bytes=0-1,200-", [(0, 2)]),
        (b"bytes=-0", []),
        (b"bytes=100-", []),
        (b"bytes=100-200,300-", []),
        (b"bytes=0-5,5-9", None),
        (b"bytes=5-9,0-", None),
        (b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(0, 34, 2)), None),
        (b"bytes=2-1", None),
        (b"bytes=", None),
        (b"bytes=-", None),
        (b"bytes=,", None),
        (b"bytes=1", None),
        (b"bytes=a-b", None),
        (b"bytes=+1-2", None),
        (b"bytes=1-2-3", None),
        (b"bytes=1 -2", None),
        (b"bytes=0-9999999999999999999", None),
        (b"lines=1-2", None),
        (b"bytes 1-2", None),
        (b"", None),
    ],
)
def test_wanted(value: bytes, spans: list[tuple[int, int]] | None) -> None:
    """Of 100 bytes."""
    assert wanted(value, 100) == spans


def test_of_nothing() -> None:
    """No part of an empty file is there."""
    assert wanted(b"bytes=0-", 0) == []
    assert wanted(b"bytes=-5", 0) == []


def test_multipart() -> None:
    """Parts one after the other, and how long that is."""
    pieces = multipart([Span(0, 2), Span(5, 7)], 100, b"text/plain", b"BB")
    body = b"".join(bytes(piece.stop - piece.start) if isinstance(piece, Span) else piece for piece in pieces)
    assert body == (
        b"--BB\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/100\r\n\r\n\0\0"
        b"\r\n--BB\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-6/100\r\n\r\n\0\0"
        b"\r\n--BB--\r\n"
    )
    assert length(pieces) == len(body)
    assert content_range(Span(0, 1), 7) == b"bytes 0-0/7"
