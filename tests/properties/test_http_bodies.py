"""Bodies: whatever is written in chunks is read back, and how the bytes were split never matters."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from appliance.http.body import LAST_CHUNK, BodyError, BodyReader, ChunkedReader, LengthReader, chunk
from tests.support.httpfuzz import CHUNK_FRAGMENTS

CUTS = st.lists(st.integers(0, 200), max_size=10)
STREAMS = st.lists(st.sampled_from(CHUNK_FRAGMENTS) | st.binary(max_size=4), max_size=10).map(b"".join)


def read(reader: BodyReader, data: bytes, cuts: list[int]) -> tuple[bytes, bool, bytes] | None:
    """Body, whether it ended, and what came after it; None if it was refused."""
    body, rest = b"", b""
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in pairwise(places):
        if reader.done:
            rest += data[start:end]
            continue
        try:
            body += reader.feed(data[start:end])
        except BodyError:
            return None
    return body, reader.done, reader.surplus + rest


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.binary(max_size=10), CUTS)
def test_chunks_are_read_back(pieces: list[bytes], surplus: bytes, cuts: list[int]) -> None:
    """What `chunk` writes, the reader finds, to the byte."""
    data = b"".join(map(chunk, pieces)) + LAST_CHUNK + surplus
    assert read(ChunkedReader(), data, cuts) == (b"".join(pieces), True, surplus)


@given(STREAMS, CUTS)
def test_splits_do_not_matter(data: bytes, cuts: list[int]) -> None:
    """Good or bad, a stream means the same in one piece, in any pieces, and byte by byte.

    Only when a broken stream is noticed may depend on its pieces, so all are given an end.
    """
    data += b"\n"
    whole = read(ChunkedReader(), data, [])
    assert read(ChunkedReader(), data, cuts) == whole
    assert read(ChunkedReader(), data, list(range(len(data)))) == whole


@given(st.integers(0, 50), st.binary(max_size=60), CUTS)
def test_lengths(length: int, data: bytes, cuts: list[int]) -> None:
    """A body of a length is so many bytes, and the rest is surplus."""
    assert read(LengthReader(length), data, cuts) == (data[:length], len(data) >= length, data[length:])
