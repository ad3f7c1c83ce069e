"""HTTP/2 fields to heads and back (RFC 9113 section 8): as strict as `http1`, so that nothing reaches an application
over one version which the other would refuse.

What the RFC calls malformed raises Http2StreamError: the stream is reset. What is well-formed and not served raises
RequestError: the stream gets that answer.
"""

from __future__ import annotations

import re

from appliance.config import Limits
from appliance.errors import RequestError
from appliance.http.headers import FORWARDING, METHODS, REQUEST_NOT_FORWARDED, forwardable_trailers, split_authority
from appliance.http.http2frames import PROTOCOL_ERROR, Http2StreamError
from appliance.http.http2priority import read_priority
from appliance.http.message import CHUNKED, NO_BODY, Fields, RequestHead, ResponseHead

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*+(?<![\t ]))?)?")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_TARGET = re.compile(rb"[\x21-\x22\x24-\x7e]++")
_LENGTH = re.compile(rb"[0-9]{1,18}")

CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
"""Fields that no message over HTTP/2 has (section 8.2.2)."""

_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})

FIELD_OVERHEAD = 32
"""What every field counts beside its name and value (RFC 9113 section 10.5.1)."""


def malformed(reason: str) -> Http2StreamError:
    """A message that must not be acted upon (RFC 9113 section 8.1.1)."""
    return Http2StreamError(PROTOCOL_ERROR, reason)


def list_bytes(fields: Fields) -> int:
    """The size of a header list, as SETTINGS_MAX_HEADER_LIST_SIZE counts it."""
    return sum([len(name) + len(value) for name, value in fields]) + FIELD_OVERHEAD * len(fields)


class HeadReader:
    """Makes requests of header lists, within ``limits``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def read(self, fields: Fields, ended: bool) -> RequestHead | RequestError | Http2StreamError:
        """The request, which is nothing but a head if ``ended``; or what is wrong with it.

        That is a value too, so that a block's meaning can be remembered.
        """
        try:
            return self._read(fields, ended)
        except (RequestError, Http2StreamError) as error:
            return error.with_traceback(None)

    def _read(self, fields: Fields, ended: bool) -> RequestHead:
        limits = self._limits
        pseudo, regular = split_fields(fields, _PSEUDO)
        if list_bytes(fields) > limits.header_bytes + FIELD_OVERHEAD * limits.headers:
            raise RequestError(431, f"header larger than {limits.header_bytes} bytes")
        if len(regular) > limits.headers:
            raise RequestError(431, f"more than {limits.headers} header fields")
        request = self._take_pseudo(pseudo)
        _take_fields(request, regular)
        if ended or request.upgrade:
            if request.framing > 0:
                raise malformed("a content-length, and no content")
            request.framing = NO_BODY
        return request

    def _take_pseudo(self, pseudo: dict[bytes, bytes]) -> RequestHead:
        method, scheme, target = pseudo.get(b":method"), pseudo.get(b":scheme"), pseudo.get(b":path")
        protocol = pseudo.get(b":protocol")
        if method == b"CONNECT" and protocol is None:
            raise RequestError(405, "CONNECT is not served here")
        if method != b"CONNECT" and protocol is not None:
            raise malformed(":protocol without CONNECT")
        if method is None or scheme is None or target is None:
            raise malformed("a request without :method, :scheme or :path")
        if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
            raise malformed("a malformed :method or :path")
        if scheme not in (b"https", b"http"):
            raise malformed("a :scheme other than http and https")
        if not target.startswith(b"/") and (target != b"*" or method != b"OPTIONS"):
            raise malformed("a :path that does not begin with /")
        if method not in METHODS:
            raise RequestError(501, "unknown method")
        if len(target) > self._limits.target_bytes:
            raise RequestError(414, f"request target longer than {self._limits.target_bytes} bytes")
        if protocol is None:
            request = RequestHead(method, target, 1)
        elif protocol == b"websocket":  # to an application, an upgrade (RFC 8441 section 5)
            request = RequestHead(b"GET", target, 1)
            request.upgrade = protocol
        else:
            raise RequestError(501, "unknown protocol")
        request.authority = pseudo.get(b":authority", b"")
        return request


def copy_of(request: RequestHead) -> RequestHead:
    """A head of its own for each request, where the same block made them; the lists in it are never changed."""
    made = RequestHead(request.method, request.target, request.version)
    made.fields = request.fields
    made.forwarding = request.forwarding
    made.authority = request.authority
    made.host = request.host
    made.framing = request.framing
    made.expects_continue = request.expects_continue
    made.priority = request.priority
    made.takes_trailers = request.takes_trailers
    made.upgrade = request.upgrade
    return made


def split_fields(fields: Fields, known: frozenset[bytes]) -> tuple[dict[bytes, bytes], Fields]:
    """Pseudo fields, of which those are ``known``, and the others.

    Whatever is malformed whoever sends it is refused here by a Http2StreamError (sections 8.2, 8.3).
    """
    pseudo: dict[bytes, bytes] = {}
    regular: Fields = []
    for field in fields:
        name, value = field
        if name[:1] == b":":
            if regular or name in pseudo or name not in known:
                raise malformed("a pseudo field that is unknown, repeated or not before all others")
            pseudo[name] = value
        else:
            _check(name, value)
            regular.append(field)
    return pseudo, regular


def _check(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise malformed("a field name that is no lower-case token")
    if not _VALUE.fullmatch(value):
        raise malformed("a field value with control characters, or white space at its ends")
    if name in CONNECTION_SPECIFIC:
        raise malformed("a field that concerns an HTTP/1.1 connection")


def _take_fields(request: RequestHead, received: Fields) -> None:
    """Sort the fields into what is forwarded and what is the appliance's own; the counterpart of `http1`'s."""
    kept = request.fields
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    cookies: list[bytes] = []
    for field in received:
        name, value = field
        if name == b"cookie":
            cookies.append(value)
        elif name not in REQUEST_NOT_FORWARDED:
            # WSGI spells "a_b" and "a-b" alike, so one could pose as the other.
            if b"_" not in name:
                kept.append(field)
            if name == b"priority":
                request.priority = read_priority(value)
        elif name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"te":
            if value.lower() != b"trailers":
                raise malformed("a TE other than trailers")
            request.takes_trailers = True
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise RequestError(417, "unknown expectation")
            request.expects_continue = True
        elif name in FORWARDING:
            request.forwarding.append(field)
    if cookies:  # HTTP/2 may split what an application expects in one field (section 8.2.3)
        kept.append((b"cookie", b"; ".join(cookies)))
    _take_authority(request, hosts)
    request.framing = _framing(lengths)


def _take_authority(request: RequestHead, hosts: list[bytes]) -> None:
    """Settle whom the request is for: two answers to that are none (section 8.3.1)."""
    if len(hosts) > 1:
        raise malformed("more than one Host field")
    if hosts and request.authority and hosts[0] != request.authority:
        raise malformed("Host and :authority differ")
    request.authority = request.authority or (hosts[0] if hosts else b"")
    if b"@" in request.authority:
        raise malformed(":authority with user information")
    request.host = split_authority(request.authority)


def _framing(lengths: list[bytes]) -> int:
    if not lengths:
        return CHUNKED
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise malformed("a malformed content-length")
    return int(lengths[0])


def read_trailers(fields: Fields) -> Fields:
    """The fields of a trailer section that may be forwarded; raises Http2StreamError."""
    _, regular = split_fields(fields, frozenset())
    return forwardable_trailers(regular)


def response_fields(response: ResponseHead) -> Fields:
    """A response's header list, ready for compression."""
    fields: Fields = [(b":status", b"%d" % response.status)]
    fields += [(name.lower(), value) for name, value in response.fields]
    length = response.framing if response.framing > 0 else response.stated_length
    if length is not None and response.framing >= NO_BODY:
        fields.append((b"content-length", b"%d" % length))
    return fields
