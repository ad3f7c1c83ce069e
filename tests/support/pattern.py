"""Bytes by the gigabyte that nobody has to keep: a fixed block over and over, and its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

BLOCK = hashlib.shake_256(b"the appliance").digest(65536)


def pieces(size: int) -> Iterator[bytes]:
    """``size`` bytes in all, in blocks."""
    whole, rest = divmod(size, len(BLOCK))
    for _ in range(whole):
        yield BLOCK
    if rest:
        yield BLOCK[:rest]


def sha256(size: int) -> str:
    """The digest, in hex, of the first ``size`` bytes."""
    digest = hashlib.sha256()
    for piece in pieces(size):
        digest.update(piece)
    return digest.hexdigest()
