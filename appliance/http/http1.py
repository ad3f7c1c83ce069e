"""HTTP/1.1 heads on the wire (RFC 9112): one strict reader each way, and the writers.

A head is held against a grammar of its own first, whole and byte by byte. Nearly all are in canonical form, in which
there is nothing to interpret: the lines that concern this connection are cut out, and the others pass as they are. Any
other head is taken apart by llhttp and put into that form; both must agree to it, so that nothing which servers read
differently from each other ever gets past this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import httptools

from appliance.config import Limits
from appliance.errors import RequestError, UpstreamError
from appliance.http.headers import (
    FORWARDING,
    METHODS,
    REQUEST_NOT_FORWARDED,
    RESPONSE_NOT_FORWARDED,
    is_token_list,
    nominated,
    split_authority,
    without,
)
from appliance.http.message import CHUNKED, NO_BODY, UNTIL_CLOSE, Fields, RequestHead, ResponseHead

HEAD_END = b"\r\n\r\n"

_REQUEST_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++) ([\x21-\x22\x24-\x7e]++) HTTP/(?:1\.([01])|([0-9])\.[0-9])\r\n"
)
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n")
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")
# Canonical: one space after the colon, none at a value's ends, no "_" in a request's names.
_CANONICAL_REQUEST = re.compile(
    rb"(?:[!#$%&'*+\-.^`|~0-9A-Za-z]++: (?![\t ])[\t\x20-\x7e\x80-\xff]*+(?<![\t ])\r\n)*+\r\n"
)
_CANONICAL_RESPONSE = re.compile(
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: (?![\t ])[\t\x20-\x7e\x80-\xff]*+(?<![\t ])\r\n)*+\r\n"
)


def _lines_of(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """Matches a line of one of these fields, from the end of the line before it. Groups: name, value."""
    return re.compile(rb"\r\n((?i:" + b"|".join(map(re.escape, sorted(names))) + rb")): ([^\r]*+)")


_REQUEST_OWN = _lines_of(REQUEST_NOT_FORWARDED)
_RESPONSE_OWN = _lines_of(RESPONSE_NOT_FORWARDED)

_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNKED_FIELD = re.compile(rb"\r\n(?i:transfer-encoding: *chunked) *\r\n")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
_PROTOCOL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?")
_BROKEN_LINE = re.compile(rb"\r(?!\n)(?!\Z)|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_USUALLY_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})
_REQUEST_LINE_REST = 32
"""No request line is longer than its target by more than this: the longest method known and ``HTTP/1.1``."""


_Values = tuple[bytes, ...]
"""Of one field, usually none: tuples, as an empty one costs nothing."""


class _Collector:
    """Receives what llhttp finds in one head."""

    __slots__ = ("fields", "url")

    def __init__(self) -> None:
        self.url = b""
        self.fields: Fields = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def check_partial_head(data: bytes, scanned: int, limits: Limits) -> None:
    """Refuse a head that cannot become a good one any more, before its end has come.

    ``scanned`` bytes of ``data`` were looked at by an earlier call.
    """
    if _BROKEN_LINE.search(data, max(scanned - 1, 0)):
        raise RequestError(400, "a control character or a line not ended by CR LF in the header")
    bound = limits.target_bytes + _REQUEST_LINE_REST
    if scanned <= bound < len(data) and data.find(b"\r\n", 0, bound) < 0:
        raise RequestError(414, f"request target longer than {limits.target_bytes} bytes")
    if len(data) > limits.header_bytes:
        raise RequestError(431, f"header larger than {limits.header_bytes} bytes")


def read_request(head: bytes, limits: Limits) -> RequestHead:
    """Take apart one complete head, ``head`` ending with the empty line.

    Raises RequestError with the status to answer.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise RequestError(400, "malformed request line")
    method, target, minor, other = line.groups()
    if minor is None:
        raise RequestError(400 if other == b"1" else 505, "HTTP version not supported")
    if len(target) > limits.target_bytes:
        raise RequestError(414, f"request target longer than {limits.target_bytes} bytes")
    if len(head) > limits.header_bytes:
        raise RequestError(431, f"header larger than {limits.header_bytes} bytes")
    start = line.end()
    canonical = _CANONICAL_REQUEST.fullmatch(head, start)
    if canonical is None and not _FIELDS.fullmatch(head, start):
        raise RequestError(400, "malformed header field")
    if method not in METHODS:
        raise RequestError(501, "unknown method")
    if head.count(b"\r\n") - 2 > limits.headers:
        raise RequestError(431, f"more than {limits.headers} header fields")
    request = RequestHead(method, target, 0 if minor == b"0" else 1)
    _take_request_fields(request, head[start - 2 : -2] if canonical else _canonical_request(head))
    if request.framing == CHUNKED and not _CHUNKED_FIELD.search(head):  # a tab: white space to some servers only
        raise RequestError(400, "Transfer-Encoding other than chunked")
    _take_target(request)
    return request


def _canonical_request(head: bytes) -> bytes:
    """The field lines as llhttp reads them, in canonical form, after the end of the request line."""
    collector = _Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        raise RequestError(400, "malformed request") from None
    # WSGI spells "a_b" and "a-b" alike, so one could pose as the other.
    return _lines(field for field in collector.fields if b"_" not in field[0])


def _lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"\r\n" + b"".join([b"%b: %b\r\n" % (name, value.strip(b" \t")) for name, value in fields])


def _take_request_fields(request: RequestHead, lines: bytes) -> None:
    """Sort the fields into what is forwarded and what is this connection's own.

    ``lines`` are canonical, and begin with the end of the line before them.
    """
    hosts: _Values = ()
    lengths: _Values = ()
    codings: _Values = ()
    connection: _Values = ()
    upgrade: _Values = ()
    parts = _REQUEST_OWN.split(lines)
    request.lines = b"".join(parts[::3])[2:]
    for position in range(1, len(parts), 3):
        name, value = parts[position].lower(), parts[position + 1]
        if name == b"host":
            hosts += (value,)
        elif name == b"connection":
            connection += (value.lower(),)
        elif name == b"content-length":
            lengths += (value,)
        elif name == b"transfer-encoding":
            codings += (value,)
        elif name == b"upgrade":
            upgrade += (value,)
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise RequestError(417, "unknown expectation")
            request.expects_continue = request.version == 1
        elif name == b"te":
            request.takes_trailers = request.takes_trailers or b"trailers" in nominated(value.lower())
        elif name in FORWARDING:
            request.forwarding.append((name, value))
    if len(hosts) != 1:
        raise RequestError(400, "exactly one Host field is needed")
    request.authority = hosts[0]
    if lengths or codings:
        request.framing = _request_framing(request.version, lengths, codings)
    if connection:
        _take_connection(request, b",".join(connection), upgrade)


def _take_connection(request: RequestHead, options: bytes, upgrade: _Values) -> None:
    if options == b"keep-alive":
        request.keep_alive = True
        return
    if options == b"close":
        request.keep_alive = False
        return
    if not is_token_list(options):
        raise RequestError(400, "malformed Connection field")
    names = nominated(options)
    if b"close" in names:
        request.keep_alive = False
    elif b"keep-alive" in names:
        request.keep_alive = True
    if b"upgrade" in names and len(upgrade) == 1 and request.version == 1 and _may_ask_for(upgrade[0]):
        request.upgrade = upgrade[0]
    request.fields = without(request.fields, names)


def _may_ask_for(protocol: bytes) -> bool:
    """Whether an ``Upgrade`` is passed on: one protocol, so that the answer is clear, and none that hides requests."""
    return _PROTOCOL.fullmatch(protocol) is not None and protocol.partition(b"/")[0].lower() not in (b"h2c", b"http")


def _request_framing(version: int, lengths: _Values, codings: _Values) -> int:
    """RFC 9112 section 6.3, at its strictest: whatever two servers could read differently is refused."""
    if codings:
        if lengths:
            raise RequestError(400, "both Content-Length and Transfer-Encoding")
        if version == 0:
            raise RequestError(400, "Transfer-Encoding in an HTTP/1.0 request")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise RequestError(400, "Transfer-Encoding other than chunked")
        return CHUNKED
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise RequestError(400, "malformed Content-Length")
    return int(lengths[0])


def _take_target(request: RequestHead) -> None:
    """Reduce the target to origin-form (RFC 9112 section 3.2) and settle whom the request is for."""
    if request.method == b"CONNECT":
        raise RequestError(405, "CONNECT is not served here")
    target = request.target
    if not target.startswith(b"/"):
        if target == b"*":
            if request.method != b"OPTIONS":
                raise RequestError(400, "the target * is for OPTIONS only")
        else:
            split_authority(request.authority)  # it must be well-formed even where it is not used
            absolute = _ABSOLUTE.fullmatch(target)
            if absolute is None:
                raise RequestError(400, "malformed request target")
            request.authority, rest = absolute.groups()
            request.target = rest if rest.startswith(b"/") else b"/" + rest
    request.host = split_authority(request.authority)


def read_response(head: bytes, method: bytes) -> ResponseHead:
    """Take apart the head of an upstream's answer to ``method``; raises UpstreamError for anything doubtful."""
    line = _STATUS_LINE.match(head)
    if line is None:
        raise UpstreamError("head", f"it sent a malformed status line: {head[:60]!r}")
    start = line.end()
    canonical = _CANONICAL_RESPONSE.fullmatch(head, start)
    if canonical is None and not _FIELDS.fullmatch(head, start):
        raise UpstreamError("head", "it sent a malformed header field")
    minor, status, reason = line.groups()
    response = ResponseHead(int(status), reason or b"", 0 if minor == b"0" else 1)
    _take_response_fields(response, head[start - 2 : -2] if canonical else _canonical_response(head), method)
    return response


def _canonical_response(head: bytes) -> bytes:
    """As `_canonical_request`."""
    collector = _Collector()
    try:
        httptools.HttpResponseParser(collector).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise UpstreamError("head", f"it sent a malformed response: {error}") from None
    return _lines(collector.fields)


def _take_response_fields(response: ResponseHead, lines: bytes, method: bytes) -> None:
    """As `_take_request_fields`."""
    lengths: _Values = ()
    codings: _Values = ()
    connection: _Values = ()
    parts = _RESPONSE_OWN.split(lines)
    response.lines = b"".join(parts[::3])[2:]
    for position in range(1, len(parts), 3):
        name, value = parts[position].lower(), parts[position + 1]
        if name == b"content-length":
            lengths += (value,)
        elif name == b"transfer-encoding":
            codings += (value,)
        elif name == b"connection":
            connection += (value.lower(),)
        elif name == b"upgrade" and response.status == 101:
            response.upgrade = value
    if connection:
        _heed_connection(response, b",".join(connection))
    _take_response_framing(response, lengths, codings, method)


def _heed_connection(response: ResponseHead, options: bytes) -> None:
    if options == b"keep-alive":
        response.keep_alive = True
        return
    if options == b"close":
        response.keep_alive = False
        return
    names = nominated(options)
    if b"close" in names:
        response.keep_alive = False
    elif b"keep-alive" in names:
        response.keep_alive = True
    response.fields = without(response.fields, names)


def _take_response_framing(response: ResponseHead, lengths: _Values, codings: _Values, method: bytes) -> None:
    """RFC 9112 section 6.3 for responses; a doubtful framing is an error, never a guess."""
    if codings:
        if lengths:
            raise UpstreamError("head", "it sent both Content-Length and Transfer-Encoding")
        if len(codings) != 1 or codings[0].lower() != b"chunked" or response.version == 0:
            raise UpstreamError("head", "it sent a Transfer-Encoding other than chunked")
        framing = CHUNKED
    elif lengths:
        if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
            raise UpstreamError("head", "it sent a malformed Content-Length")
        framing = int(lengths[0])
    else:
        framing = UNTIL_CLOSE
    status = response.status
    if status < 200 or status == 204:
        _heed_announced(response, framing, method)
        framing = NO_BODY
    elif framing == NO_BODY or method == b"HEAD" or status == 304:
        _heed_announced(response, framing, method)
        response.stated_length = framing if framing >= 0 else None
        framing = NO_BODY
    response.framing = framing


def _heed_announced(response: ResponseHead, framing: int, method: bytes) -> None:
    """Have no other request on this connection if a body may follow that must not: some applications send it all the
    same, and it would be taken for the next response."""
    if framing != NO_BODY and (framing != UNTIL_CLOSE or method == b"HEAD"):
        response.keep_alive = False


def write_request(request: RequestHead, target: bytes, own_fields: bytes) -> bytes:
    """The head sent upstream: always HTTP/1.1, framing afresh.

    ``own_fields`` are complete lines that the appliance itself sets.
    """
    framing = request.framing
    if framing > 0:
        own_fields += b"Content-Length: %d\r\n" % framing
    elif framing == CHUNKED:
        own_fields += b"Transfer-Encoding: chunked\r\n"
    elif request.method in _USUALLY_WITH_BODY:
        own_fields += b"Content-Length: 0\r\n"
    if request.upgrade:
        own_fields += b"Connection: upgrade\r\nUpgrade: %b\r\n" % request.upgrade
    start = request.method, target, request.authority
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (*start, request.lines, own_fields)


def write_response(response: ResponseHead, version: int, keep_alive: bool) -> bytes:
    """The head sent to a client of HTTP/1.``version``; ``keep_alive`` says whether its connection stays."""
    framing = response.framing
    status = response.status
    if framing > 0:
        own_fields = b"Content-Length: %d\r\n" % framing
    elif framing == NO_BODY:
        own_fields = b"Content-Length: %d\r\n" % response.stated_length if response.stated_length is not None else b""
    else:
        own_fields = b"Transfer-Encoding: chunked\r\n" if version == 1 else b""
    if status == 101:
        own_fields += b"Connection: upgrade\r\nUpgrade: %b\r\n" % response.upgrade
    elif not keep_alive and status >= 200:
        own_fields += b"Connection: close\r\n"
    elif version == 0 and status >= 200:
        own_fields += b"Connection: keep-alive\r\n"
    return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, response.reason, response.lines, own_fields)
