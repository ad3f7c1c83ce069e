"""Which responses are compressed, and how."""

from __future__ import annotations

import importlib
import sys
import zlib

import pytest
import zstandard

from appliance.http import compression
from appliance.http.compression import (
    OFFERED,
    add_vary,
    change_head,
    encoder_for,
    is_compressible,
    negotiable,
    reveals,
)
from appliance.http.message import CHUNKED, NO_BODY, UNTIL_CLOSE, RequestHead, ResponseHead

HTML = (b"Content-Type", b"text/html; charset=utf-8")


def request(*fields: tuple[bytes, bytes], method: bytes = b"GET") -> RequestHead:
    """A request with these fields."""
    made = RequestHead(method, b"/", 1)
    made.fields = list(fields)
    return made


def response(*fields: tuple[bytes, bytes], status: int = 200, framing: int = CHUNKED) -> ResponseHead:
    """A response with these fields."""
    made = ResponseHead(status, b"")
    made.fields = list(fields)
    made.framing = framing
    return made


@pytest.mark.parametrize(
    "kind",
    [
        b"text/html",
        b"Text/HTML; charset=utf-8",
        b"text/event-stream",
        b"application/json",
        b"application/problem+json; x=y",
        b"application/javascript",
        b"application/wasm",
        b"application/vnd.api+json",
        b"image/svg+xml",
        b"image/x-icon",
        b"font/ttf",
        b"application/x-ndjson",
        b"application/xml",
        b"application/manifest+json",
        b"model/gltf+json",
    ],
)
def test_compressible(kind: bytes) -> None:
    """Text, by whatever name."""
    assert is_compressible(kind)


@pytest.mark.parametrize(
    "kind",
    [b"", b"image/png", b"image/webp", b"font/woff2", b"video/mp4", b"application/zip", b"application/octet-stream"],
)
def test_not_compressible(kind: bytes) -> None:
    """What is compressed by nature, and what is not known."""
    assert not is_compressible(kind)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (response(HTML), True),
        (response(HTML, framing=UNTIL_CLOSE), True),
        (response(HTML, framing=1024), True),
        (response(HTML, framing=1023), False),
        (response(HTML, framing=NO_BODY), False),
        (response(HTML, status=404), True),
        (response(HTML, status=500, framing=5000), True),
        (response(HTML, status=103), False),
        (response(HTML, status=204, framing=NO_BODY), False),
        (response(HTML, status=206), False),
        (response((b"Content-Type", b"image/png")), False),
        (response(), False),
        (response(HTML, (b"Content-Encoding", b"gzip")), False),
        (response(HTML, (b"content-range", b"bytes 0-1/2")), False),
        (response(HTML, (b"Cache-Control", b"public, No-Transform")), False),
        (response(HTML, (b"Cache-Control", b"public")), True),
        (response(HTML, (b"Content-Digest", b"x")), False),
        (response((b"ETag", b'"x"'), status=304, framing=NO_BODY), False),
    ],
)
def test_negotiable(answer: ResponseHead, expected: bool) -> None:
    """By status, type, length, and what else is said of the body."""
    assert negotiable(request(), answer) is expected


def test_head() -> None:
    """HEAD is told what GET would have been; an unknown length is taken for long enough."""
    answer = response(HTML, framing=NO_BODY)
    assert negotiable(request(method=b"HEAD"), answer)
    answer.stated_length = 100
    assert not negotiable(request(method=b"HEAD"), answer)
    answer.stated_length = 5000
    assert negotiable(request(method=b"HEAD"), answer)
    change_head(answer, b"gzip")
    assert (answer.framing, answer.stated_length) == (NO_BODY, None)


def test_not_modified() -> None:
    """Who has the compressed version, by its weak tag, is told that this one is still good."""
    having = request((b"If-None-Match", b'"y", W/"x"'))
    answer = response((b"ETag", b'"x"'), status=304, framing=NO_BODY)
    assert negotiable(having, answer)
    change_head(answer, b"gzip")
    assert answer.fields == [(b"ETag", b'W/"x"')]
    assert not negotiable(request((b"If-None-Match", b'"x"')), response((b"ETag", b'"x"'), status=304, framing=NO_BODY))


def test_change_head() -> None:
    """Another representation: its tag is weak, it has no ranges, its length is not known."""
    answer = response(HTML, (b"ETag", b'"x"'), (b"Accept-Ranges", b"bytes"), framing=5000)
    change_head(answer, b"zstd")
    assert answer.framing == CHUNKED
    assert answer.fields == [HTML, (b"ETag", b'W/"x"'), (b"Content-Encoding", b"zstd")]
    change_head(answer, b"gzip")
    assert answer.fields[1] == (b"ETag", b'W/"x"')


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [b"Accept-Encoding"]),
        ([b"Cookie"], [b"Cookie", b"Accept-Encoding"]),
        ([b"Cookie, accept-encoding"], [b"Cookie, accept-encoding"]),
        ([b"*"], [b"*"]),
    ],
)
def test_vary(before: list[bytes], after: list[bytes]) -> None:
    """Caches are told once."""
    answer = response(HTML, *((b"vary", value) for value in before))
    add_vary(answer)
    assert [value for name, value in answer.fields if name.lower() == b"vary"] == after


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], False),
        ([(b"Cookie", b"a")], False),
        ([(b"Sec-Fetch-Site", b"cross-site")], False),
        ([(b"Sec-Fetch-Site", b"cross-site"), (b"Cookie", b"a")], True),
        ([(b"sec-fetch-site", b"cross-site"), (b"Authorization", b"a")], True),
        ([(b"Sec-Fetch-Site", b"same-origin"), (b"Cookie", b"a")], False),
        ([(b"Sec-Fetch-Site", b"same-site"), (b"Cookie", b"a")], False),
        ([(b"Sec-Fetch-Site", b"none"), (b"Cookie", b"a")], False),
    ],
)
def test_reveals(fields: list[tuple[bytes, bytes]], expected: bool) -> None:
    """Another site asks, with its visitor's credentials."""
    assert reveals(request(*fields)) is expected


def decoder(coding: bytes):  # type: ignore[no-untyped-def]
    """The other end."""
    return (
        zlib.decompressobj(31).decompress
        if coding == b"gzip"
        else zstandard.ZstdDecompressor().decompressobj().decompress
    )


@pytest.mark.parametrize("coding", [b"gzip", b"zstd"])
def test_encoders(coding: bytes) -> None:
    """What comes out is what went in, at each flush and in the end; and smaller."""
    encoder, decode = encoder_for(coding), decoder(coding)
    assert decode(encoder.encode(b"data: 1\n\n") + encoder.flush()) == b"data: 1\n\n"
    assert decode(encoder.encode(b"data: 2\n\n") + encoder.flush()) == b"data: 2\n\n"
    out = encoder.encode(b"x" * 100_000) + encoder.finish()
    assert decode(out) == b"x" * 100_000
    assert len(out) < 1000
    assert encoder_for(coding).finish()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without zstandard there is gzip."""
    assert OFFERED == (b"zstd", b"gzip")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    try:
        assert importlib.reload(compression).OFFERED == (b"gzip",)
    finally:
        monkeypatch.undo()
        importlib.reload(compression)
