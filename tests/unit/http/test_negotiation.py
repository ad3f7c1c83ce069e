"""What clients would rather have."""

from __future__ import annotations

import pytest

from appliance.http.negotiation import choose_coding, weighted


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"", b""),
        (b"gzip", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"GZIP", b"gzip"),
        (b"gzip, deflate, br", b"br"),
        (b"gzip, deflate, br, zstd", b"zstd"),
        (b"gzip;q=1.0, zstd;q=0.5, br;q=0.9", b"gzip"),
        (b"*", b"zstd"),
        (b"*;q=0.5, zstd;q=0", b"br"),
        (b"*;q=0", b""),
        (b"gzip;q=0", b""),
        (b"gzip;q=0.000", b""),
        (b"gzip;q=0.001", b"gzip"),
        (b"identity", b""),
        (b"identity;q=0.5, gzip;q=0.2", b""),
        (b"identity, gzip", b"gzip"),
        (b"gzip;q=2", b""),
        (b"gzip;q=x", b""),
        (b"gzip;q=", b""),
        (b"gzip ; q=0.5", b"gzip"),
        (b"gzip;level=9;q=0", b""),
        (b", ,gzip,", b"gzip"),
        (b"deflate", b""),
    ],
)
def test_choose_coding(accept: bytes, expected: bytes) -> None:
    """The best by quality; the order of the offer where that is the same."""
    fields = [(b"Accept-Encoding", accept), (b"Accept-Language", b"br")]
    assert choose_coding(weighted(fields, b"accept-encoding"), (b"zstd", b"br", b"gzip")) == expected


def test_several_fields_and_no_offer() -> None:
    """A list may be spread; nothing can be chosen from nothing."""
    fields = [(b"accept-encoding", b"gzip;q=0"), (b"Accept-Encoding", b"br")]
    assert choose_coding(weighted(fields, b"accept-encoding"), (b"gzip", b"br")) == b"br"
    assert choose_coding(weighted(fields, b"accept-encoding"), ()) == b""
