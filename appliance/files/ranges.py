"""Byte ranges (RFC 9110 section 14): which parts of a file are wanted, and how several are sent at once."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

MOST = 16
"""More ranges than so many are not worth their heads: the whole is sent."""

_RANGES = re.compile(rb"(?i:bytes)=[ \t]*+([0-9,\- \t]++)")
_RANGE = re.compile(rb"([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18})")


class Span(NamedTuple):
    """Bytes from ``start`` to before ``stop``."""

    start: int
    stop: int


def wanted(value: bytes, size: int) -> list[Span] | None:
    """The parts of ``size`` bytes that a ``Range`` names, in its order.

    None: the field means nothing to us, or more trouble than the whole (several that overlap, or too many), and is to
    be ignored. An empty list: it is well-formed, and nothing of it is there (416).
    """
    match = _RANGES.fullmatch(value)
    if match is None:
        return None
    spans: list[Span] = []
    for count, text in enumerate(match[1].split(b","), 1):
        found = _RANGE.fullmatch(text.strip(b" \t"))
        if found is None or count > MOST:
            return None
        first, last, suffix = found.groups()
        if suffix is not None:
            span = Span(max(size - int(suffix), 0), size)
        else:
            if last is not None and int(last) < int(first):
                return None
            span = Span(int(first), size if last is None else min(int(last) + 1, size))
        if span.start < span.stop:
            spans.append(span)
    return None if _overlap(spans) else spans


def _overlap(spans: list[Span]) -> bool:
    ordered = sorted(spans)
    return any(before.stop > after.start for before, after in pairwise(ordered))


def content_range(span: Span, size: int) -> bytes:
    """The value of ``Content-Range`` for a part that is sent."""
    return b"bytes %d-%d/%d" % (span.start, span.stop - 1, size)


def multipart(spans: list[Span], size: int, content_type: bytes, boundary: bytes) -> list[bytes | Span]:
    """What a ``multipart/byteranges`` body is made of: text as it is, and the parts of the file between."""
    pieces: list[bytes | Span] = []
    line = b"--%b\r\n" % boundary
    for span in spans:
        pieces.append(
            b"%bContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % (line, content_type, content_range(span, size))
        )
        pieces.append(span)
        line = b"\r\n--%b\r\n" % boundary
    pieces.append(b"\r\n--%b--\r\n" % boundary)
    return pieces


def length(pieces: list[bytes | Span]) -> int:
    """How many bytes they are together."""
    return sum(piece.stop - piece.start if isinstance(piece, Span) else len(piece) for piece in pieces)
