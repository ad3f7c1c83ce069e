"""Content types by name."""

from __future__ import annotations

import pytest

from appliance.files.mediatypes import content_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"index.html", b"text/html; charset=utf-8"),
        (b"a.css", b"text/css; charset=utf-8"),
        (b"a.min.JS", b"text/javascript; charset=utf-8"),
        (b"a.mjs", b"text/javascript; charset=utf-8"),
        (b"a.json", b"application/json"),
        (b"a.js.map", b"application/json"),
        (b"a.wasm", b"application/wasm"),
        (b"site.webmanifest", b"application/manifest+json"),
        (b"a.svg", b"image/svg+xml"),
        (b"a.avif", b"image/avif"),
        (b"a.webp", b"image/webp"),
        (b"favicon.ico", b"image/x-icon"),
        (b"a.woff2", b"font/woff2"),
        (b"a.txt", b"text/plain; charset=utf-8"),
        (b"a.pdf", b"application/pdf"),
        (b"a.mp4", b"video/mp4"),
        (b"a.tar.gz", b"application/gzip"),
        (b"a.tgz", b"application/gzip"),
        (b"a.js.br", b"application/x-brotli"),
        (b"a.js.zst", b"application/zstd"),
        (b"a.tar.xz", b"application/x-xz"),
        (b"noextension", b"application/octet-stream"),
        (b"a.unknown-thing", b"application/octet-stream"),
        (b"\xff\xfe.css", b"text/css; charset=utf-8"),
        (b"data:text", b"application/octet-stream"),
        (b"http://x.js", b"text/javascript; charset=utf-8"),
    ],
)
def test_content_type(name: bytes, expected: bytes) -> None:
    """What browsers want to be told, UTF-8 for text."""
    assert content_type(name) == expected
