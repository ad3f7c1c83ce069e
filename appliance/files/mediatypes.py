"""What kind of content a file is, by its name alone: the same on every machine."""

from __future__ import annotations

import mimetypes
from functools import lru_cache

_TYPES = mimetypes.MimeTypes(filenames=())
"""Python's own table, without what else is installed on the machine."""

# Newer than the oldest Python supported, or other there than browsers want it.
for _type, _extension in (
    ("text/javascript", ".js"),
    ("text/javascript", ".mjs"),
    ("application/wasm", ".wasm"),
    ("application/manifest+json", ".webmanifest"),
    ("application/json", ".map"),
    ("application/ld+json", ".jsonld"),
    ("application/geo+json", ".geojson"),
    ("application/rss+xml", ".rss"),
    ("application/atom+xml", ".atom"),
    ("application/xml", ".xml"),
    ("application/yaml", ".yaml"),
    ("application/yaml", ".yml"),
    ("application/toml", ".toml"),
    ("text/markdown", ".md"),
    ("text/vtt", ".vtt"),
    ("image/avif", ".avif"),
    ("image/webp", ".webp"),
    ("image/jxl", ".jxl"),
    ("image/x-icon", ".ico"),
    ("font/woff", ".woff"),
    ("font/woff2", ".woff2"),
    ("font/ttf", ".ttf"),
    ("font/otf", ".otf"),
    ("audio/flac", ".flac"),
    ("audio/mp4", ".m4a"),
    ("audio/ogg", ".ogg"),
    ("audio/opus", ".opus"),
    ("video/webm", ".webm"),
    ("model/gltf-binary", ".glb"),
    ("model/gltf+json", ".gltf"),
):
    _TYPES.add_type(_type, _extension)
_TYPES.encodings_map[".zst"] = "zstd"
_TYPES.suffix_map.clear()  # ".tgz" and the like: archives, not archives in disguise
_PACKED = {
    "gzip": "application/gzip",
    "br": "application/x-brotli",
    "zstd": "application/zstd",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}

UNKNOWN = "application/octet-stream"


@lru_cache(1024)
def content_type(name: bytes) -> bytes:
    """The value of ``Content-Type`` for a file of this name.

    A packed file is one: who asks for ``a.tar.gz`` wants that, and not what is in it.
    """
    text = name.decode("ascii", "replace").replace(":", "_")  # guess_type takes URLs too
    kind, packed = _TYPES.guess_type(text)
    if packed is not None:
        kind = _PACKED.get(packed, UNKNOWN)
    elif text.lower().endswith(".tgz"):
        kind = _PACKED["gzip"]
    kind = kind or UNKNOWN
    return (f"{kind}; charset=utf-8" if kind.startswith("text/") else kind).encode("ascii")
