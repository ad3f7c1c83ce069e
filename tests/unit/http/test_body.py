"""Readers of bodies: where a body ends, what was in it, and which framing is refused."""

from __future__ import annotations

import pytest

from appliance.http.body import (
    LAST_CHUNK,
    BodyError,
    BodyReader,
    ChunkedReader,
    LengthReader,
    UntilCloseReader,
    chunk,
    reader_for,
)
from appliance.http.message import CHUNKED, NO_BODY, UNTIL_CLOSE


def read(reader: BodyReader, pieces: list[bytes]) -> bytes:
    """All that a reader finds in the pieces."""
    return b"".join(reader.feed(piece) for piece in pieces)


def at_every_split(data: bytes) -> list[list[bytes]]:
    """The data whole, in two pieces cut at every byte, and byte by byte."""
    cuts = [[data[:cut], data[cut:]] for cut in range(1, len(data))]
    return [[data], *cuts, [data[index : index + 1] for index in range(len(data))]]


def chunked(data: bytes, pieces: list[bytes] | None = None) -> tuple[bytes, bool, bytes]:
    """Body, whether it ended, and surplus."""
    reader = ChunkedReader()
    body = read(reader, pieces or [data])
    return body, reader.done, reader.surplus


class TestLength:
    def test_counts(self) -> None:
        """A body of known length is passed on as it comes, until the count is full."""
        reader = LengthReader(5)
        assert (reader.feed(b"ab"), reader.done) == (b"ab", False)
        assert (reader.feed(b"cde"), reader.done, reader.surplus) == (b"cde", True, b"")

    def test_surplus(self) -> None:
        """What comes after the length is kept apart."""
        reader = LengthReader(3)
        assert (reader.feed(b"abcGET"), reader.done, reader.surplus) == (b"abc", True, b"GET")

    def test_empty(self) -> None:
        """A length of nothing is complete before anything came."""
        assert LengthReader(0).done


class TestUntilClose:
    def test_never_done(self) -> None:
        """Only its connection's end ends it."""
        reader = UntilCloseReader()
        assert (reader.feed(b"0\r\n\r\n"), reader.done, reader.surplus) == (b"0\r\n\r\n", False, b"")


class TestChunked:
    def test_split_anywhere(self) -> None:
        """The same body, end and surplus come out however the bytes are split."""
        data = b"5;a=b\r\nhello\r\n00a\r\n 0123456 \r\r\n0;x\r\nTrailer: x\r\n\r\nGET /"
        for pieces in at_every_split(data):
            reader = ChunkedReader()
            body, surplus = b"", b""
            for piece in pieces:
                if reader.done:
                    surplus += piece
                else:
                    body += reader.feed(piece)
            assert (body, reader.done, reader.surplus + surplus) == (b"hello 0123456 \r", True, b"GET /"), pieces

    def test_writer(self) -> None:
        """What `chunk` writes is read back."""
        assert chunked(chunk(b"x" * 300) + chunk(b"y") + LAST_CHUNK) == (b"x" * 300 + b"y", True, b"")

    @pytest.mark.parametrize(
        "data",
        [
            b"g\r\n",
            b"\r\n",
            b" 5\r\n",
            b"5 \r\n",
            b"\t5\r\n",
            b"+5\r\n",
            b"-5\r\n",
            b"0x5\r\n",
            b"5_0\r\n",
            b"5,5\r\n",
            b"5\n",
            b"5\rx\r\n",
            b"5\0\r\n",
            b"5;a\0\r\n",
            b"5;a\rb\r\n",
            b"5 a\r\n",
            b"1234567890abcdef\r\n",
            b"f" * 16 + b"\r\n",
            b";a\r\n",
            b"\xb5\r\n",
        ],
    )
    def test_size_refused(self, data: bytes) -> None:
        """A chunk size is hexadecimal digits, a bounded number of them, then perhaps an extension, then CR LF."""
        for pieces in at_every_split(data):
            with pytest.raises(BodyError):
                chunked(b"", pieces)

    def test_leading_zeros(self) -> None:
        """Zeros before a size change nothing, and zeros alone end the body."""
        assert chunked(b"0003\r\nabc\r\n000\r\n\r\n") == (b"abc", True, b"")

    @pytest.mark.parametrize(
        "data", [b"1\r\nab", b"1\r\nab\r\n", b"1\r\na\n", b"1\r\na\rb", b"1\r\na1\r\n", b"1\r\na\r\r\n"]
    )
    def test_data_end_refused(self, data: bytes) -> None:
        """A chunk's data ends with CR LF exactly where its size says."""
        for pieces in at_every_split(data):
            with pytest.raises(BodyError):
                chunked(b"", [*pieces, b"\n"])

    @pytest.mark.parametrize(
        "line", [b"a b: c\r\n", b" a: b\r\n", b": b\r\n", b"a\r\n", b"a: \0\r\n", b"a: b\n", b"a : b\r\n"]
    )
    def test_trailer_refused(self, line: bytes) -> None:
        """Trailer fields are held to the grammar although nobody gets them."""
        for pieces in at_every_split(b"0\r\n" + line + b"\r\n"):
            with pytest.raises(BodyError):
                chunked(b"", pieces)

    def test_longest_size_line(self) -> None:
        """A size line of 256 bytes is read, one of 257 is not, however either is split."""
        longest, longer = (b"1" + b";" * count + b"\r\n" for count in (255, 256))
        for pieces in at_every_split(longest):
            assert chunked(b"", [*pieces, b"a\r\n0\r\n\r\n"]) == (b"a", True, b"")
        for pieces in at_every_split(longer):
            with pytest.raises(BodyError):
                chunked(b"", pieces)

    def test_line_without_end(self) -> None:
        """A line that does not end is refused once it is too long to be good."""
        reader = ChunkedReader()
        reader.feed(b"1" + b";" * 256)
        with pytest.raises(BodyError, match="too long"):
            reader.feed(b";")

    def test_extensions_are_bounded(self) -> None:
        """Many small chunks, each with an extension, are refused once the extensions come to more than 16 KiB."""
        reader = ChunkedReader()
        one = b"1;" + b"x" * 254 + b"\r\na\r\n"
        reader.feed(one * 64)
        with pytest.raises(BodyError, match="extensions"):
            reader.feed(one)

    def test_longest_trailers(self) -> None:
        """Trailers of 16 KiB are read and dropped, more are refused, in one line or in many, split or not."""
        longest = b"0\r\na:" + b"x" * (16 * 1024 - 2) + b"\r\n"
        assert chunked(longest + b"\r\n") == (b"", True, b"")
        assert chunked(b"", [longest[:-1], b"\n\r\n"]) == (b"", True, b"")
        with pytest.raises(BodyError, match="trailers"):
            chunked(longest + b"a:\r\n")
        with pytest.raises(BodyError, match="trailers"):
            chunked(b"0\r\na:" + b"x" * (16 * 1024 - 1) + b"\r\n")
        with pytest.raises(BodyError, match="too long"):
            chunked(b"", [longest[:-2] + b"xx"])


@pytest.mark.parametrize(
    ("framing", "kind"),
    [(CHUNKED, ChunkedReader), (UNTIL_CLOSE, UntilCloseReader), (NO_BODY, LengthReader), (7, LengthReader)],
)
def test_reader_for(framing: int, kind: type) -> None:
    """Every framing has its reader."""
    assert type(reader_for(framing)) is kind
