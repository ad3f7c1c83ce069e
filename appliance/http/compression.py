"""Which responses are worth compressing and may be, how their heads change, and the encoders (RFC 9110 section 8.4).

Levels are the ones after which time grows faster than size shrinks; see ``docs/static-files.rst``.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Protocol

from appliance.http.message import CHUNKED, NO_BODY, Fields, RequestHead, ResponseHead
from appliance.http.negotiation import choose_coding, weighted

try:
    import zstandard
except ImportError:  # the extra is not installed
    zstandard = None  # type: ignore[assignment]

LEAST_BYTES = 1024
"""Shorter bodies fit into a packet or two as they are."""

_COMPRESSIBLE = re.compile(
    rb"text/.*|(?:application|image|model|message)/(?:[^;]*\+)?(?:json|xml|yaml|text)|application/(?:javascript|"
    rb"x-javascript|ecmascript|wasm|toml|sql|rtf|x-ndjson|ndjson|json-seq|jsonlines|graphql|x-www-form-urlencoded|"
    rb"vnd\.ms-fontobject|x-font-ttf|x-font-opentype|x-sh|x-tex|pgp-signature)|"
    rb"font/(?:ttf|otf|sfnt|collection)|image/(?:bmp|x-icon|vnd\.microsoft\.icon)"
)
_NEVER_STATUS = frozenset({101, 204, 205, 206, 226})
_DIGESTS = frozenset({b"digest", b"content-digest", b"repr-digest", b"content-md5"})
_SECRETS = (b"cookie", b"authorization")


class Encoder(Protocol):
    """Compresses one body, piece by piece, within bounded memory."""

    def encode(self, data: bytes) -> bytes:
        """What has become of ``data`` and what came before it; may be empty."""

    def flush(self) -> bytes:
        """Whatever makes all that was given so far readable at the other end."""

    def finish(self) -> bytes:
        """The end."""


class _Gzip:
    __slots__ = ("_deflate", "encode", "finish")

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(4, zlib.DEFLATED, 31)
        self.encode = self._deflate.compress
        self.finish = self._deflate.flush

    def flush(self) -> bytes:
        return self._deflate.flush(zlib.Z_SYNC_FLUSH)


class _Zstd:
    __slots__ = ("_compress", "encode", "finish")

    def __init__(self) -> None:
        # A small window: it is kept for each response under way, and RFC 9659 bounds what clients must have.
        parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=17)
        self._compress = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self.encode = self._compress.compress
        self.finish = self._compress.flush

    def flush(self) -> bytes:
        return self._compress.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


_ENCODERS: dict[bytes, type[_Gzip] | type[_Zstd]] = {b"gzip": _Gzip}
if zstandard is not None:
    _ENCODERS = {b"zstd": _Zstd, **_ENCODERS}

OFFERED = tuple(_ENCODERS)
"""The codings there are, the cheapest one first."""


def encoder_for(coding: bytes) -> Encoder:
    """A new one of `OFFERED`."""
    return _ENCODERS[coding]()


def is_compressible(content_type: bytes) -> bool:
    """Whether a body of this type gets much smaller."""
    return _COMPRESSIBLE.fullmatch(content_type.partition(b";")[0].strip(b" \t").lower()) is not None


def reveals(request: RequestHead) -> bool:
    """Whether the length of a compressed answer could tell another site of what is in it (BREACH).

    Another site can have a browser ask with its user's credentials, put guesses into the target, and watch the lengths
    that come back. Browsers say so where a request comes from another site, and there nothing is compressed.
    """
    return request.first(b"sec-fetch-site") == b"cross-site" and any(map(request.first, _SECRETS))


def coding_for(request: RequestHead) -> bytes:
    """The coding that this client should be sent; empty for none."""
    return b"" if reveals(request) else _choose(request.first(b"accept-encoding"))


@lru_cache(256)
def _choose(value: bytes) -> bytes:
    return choose_coding(weighted([(b"accept-encoding", value)], b"accept-encoding"), OFFERED)


def negotiable(request: RequestHead, response: ResponseHead) -> bool:
    """Whether there is a compressed form of the response, for whom it may concern."""
    if response.status < 200 or response.status in _NEVER_STATUS:
        return False
    kind = b""
    for name, value in response.fields:
        lower = name.lower()
        if lower == b"content-type":
            kind = value
        elif (
            lower == b"content-encoding"
            or lower == b"content-range"
            or lower in _DIGESTS
            or (lower == b"cache-control" and b"no-transform" in value.lower())
        ):
            return False
    if response.status == 304:
        tag = response.first(b"etag")
        return tag.startswith(b'"') and b"W/" + tag in request.first(b"if-none-match")
    length = response.framing if response.framing > 0 else response.stated_length
    if response.framing == NO_BODY and request.method != b"HEAD":
        return False
    return is_compressible(kind) and (length is None or response.framing < 0 or length >= LEAST_BYTES)


def add_vary(response: ResponseHead) -> None:
    """Tell caches that other clients may get another coding."""
    for name, value in response.fields:
        if name.lower() == b"vary":
            listed = [element.strip(b" \t") for element in value.lower().split(b",")]
            if b"accept-encoding" in listed or b"*" in listed:
                return
    response.fields.append((b"Vary", b"Accept-Encoding"))


def change_head(response: ResponseHead, coding: bytes) -> None:
    """Announce the coding: another representation than the one that the validator, ranges and length were about."""
    fields: Fields = []
    for name, value in response.fields:
        lower = name.lower()
        if lower == b"etag" and not value.startswith(b"W/"):
            value = b"W/" + value
        if lower != b"accept-ranges":
            fields.append((name, value))
    response.fields = fields
    if response.status == 304:
        return
    fields.append((b"Content-Encoding", coding))
    response.stated_length = None
    if response.framing > 0:
        response.framing = CHUNKED
