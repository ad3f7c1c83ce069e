"""HTTP/1.1 heads on the wire (RFC 9112): one strict reader each way, and the writers.

A head is held against a grammar of its own first, whole and byte by byte, then taken apart by llhttp. Both must agree
to it, so that nothing which servers read differently from each other ever gets past this file.
"""

from __future__ import annotations

import re

import httptools

from appliance.config import Limits
from appliance.errors import RequestError, UpstreamError
from appliance.http.headers import (
    FORWARDING,
    REQUEST_NOT_FORWARDED,
    RESPONSE_NOT_FORWARDED,
    is_token_list,
    nominated,
    split_authority,
    without,
)
from appliance.http.message import CHUNKED, NO_BODY, UNTIL_CLOSE, Fields, RequestHead, ResponseHead

HEAD_END = b"\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++) ([\x21-\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n")
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNKED_FIELD = re.compile(rb"\r\n(?i:transfer-encoding: *chunked) *\r\n")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
_PROTOCOL = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?")
_BROKEN_LINE = re.compile(rb"\r(?!\n)(?!\Z)|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_REQUEST_LINE_REST = 32
"""No request line is longer than its target by more than this: the longest method known and ``HTTP/1.1``."""


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
    method, target, major, minor = line.groups()
    if major != b"1":
        raise RequestError(505, "HTTP version not supported")
    if len(target) > limits.target_bytes:
        raise RequestError(414, f"request target longer than {limits.target_bytes} bytes")
    if len(head) > limits.header_bytes:
        raise RequestError(431, f"header larger than {limits.header_bytes} bytes")
    if not _FIELDS.fullmatch(head, line.end()):
        raise RequestError(400, "malformed header field")
    collector = _Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserInvalidMethodError:
        raise RequestError(501, "unknown method") from None
    except httptools.HttpParserError:
        raise RequestError(400, "malformed request") from None
    if len(collector.fields) > limits.headers:
        raise RequestError(431, f"more than {limits.headers} header fields")
    request = RequestHead(method, target, min(int(minor), 1))
    _take_request_fields(request, collector.fields)
    if request.framing == CHUNKED and not _CHUNKED_FIELD.search(head):  # a tab: white space to some servers only
        raise RequestError(400, "Transfer-Encoding other than chunked")
    _take_target(request)
    return request


def _take_request_fields(request: RequestHead, received: Fields) -> None:
    """Sort the fields into what is forwarded and what is this connection's own."""
    kept = request.fields
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    upgrade: list[bytes] = []
    for field in received:
        name = field[0].lower()
        if name not in REQUEST_NOT_FORWARDED:
            # WSGI spells "a_b" and "a-b" alike, so one could pose as the other.
            if b"_" not in name:
                kept.append((field[0], field[1].strip(b" \t")))
            continue
        value = field[1].strip(b" \t")
        if name == b"host":
            hosts.append(value)
        elif name == b"connection":
            connection.append(value.lower())
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"upgrade":
            upgrade.append(value)
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
    request.framing = _request_framing(request.version, lengths, codings)
    if connection:
        _take_connection(request, b",".join(connection), upgrade)


def _take_connection(request: RequestHead, options: bytes, upgrade: list[bytes]) -> None:
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


def _request_framing(version: int, lengths: list[bytes], codings: list[bytes]) -> int:
    """RFC 9112 section 6.3, at its strictest: whatever two servers could read differently is refused."""
    if codings:
        if lengths:
            raise RequestError(400, "both Content-Length and Transfer-Encoding")
        if version == 0:
            raise RequestError(400, "Transfer-Encoding in an HTTP/1.0 request")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise RequestError(400, "Transfer-Encoding other than chunked")
        return CHUNKED
    if not lengths:
        return NO_BODY
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
    if not _FIELDS.fullmatch(head, line.end()):
        raise UpstreamError("head", "it sent a malformed header field")
    collector = _Collector()
    try:
        httptools.HttpResponseParser(collector).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise UpstreamError("head", f"it sent a malformed response: {error}") from None
    response = ResponseHead(int(line[2]), line[3] or b"", int(line[1]))
    _take_response_fields(response, collector.fields, method)
    return response


def _take_response_fields(response: ResponseHead, received: Fields, method: bytes) -> None:
    kept = response.fields
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    for field in received:
        name = field[0].lower()
        if name not in RESPONSE_NOT_FORWARDED:
            kept.append((field[0], field[1].strip(b" \t")))
            continue
        value = field[1].strip(b" \t")
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"connection":
            connection.append(value.lower())
        elif name == b"upgrade" and response.status == 101:
            response.upgrade = value
    if connection:
        names = nominated(b",".join(connection))
        if b"close" in names:
            response.keep_alive = False
        elif b"keep-alive" in names:
            response.keep_alive = True
        response.fields = without(kept, names)
    _take_response_framing(response, lengths, codings, method)


def _take_response_framing(response: ResponseHead, lengths: list[bytes], codings: list[bytes], method: bytes) -> None:
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
        framing = NO_BODY
    elif framing == NO_BODY or method == b"HEAD" or status == 304:
        response.stated_length = framing if framing >= 0 else None
        framing = NO_BODY
    response.framing = framing


def write_request(request: RequestHead, target: bytes, own_fields: bytes) -> bytes:
    """The head sent upstream: always HTTP/1.1, framing afresh.

    ``own_fields`` are complete lines that the appliance itself sets.
    """
    lines = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (request.method, target, request.authority)]
    for name, value in request.fields:
        lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(own_fields)
    framing = request.framing
    if framing > 0:
        lines.append(b"Content-Length: %d\r\n" % framing)
    elif framing == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif request.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"Content-Length: 0\r\n")
    if request.upgrade:
        lines.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % request.upgrade)
    lines.append(b"\r\n")
    return b"".join(lines)


def write_response(response: ResponseHead, version: int, keep_alive: bool) -> bytes:
    """The head sent to a client of HTTP/1.``version``; ``keep_alive`` says whether its connection stays."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (response.status, response.reason)]
    for name, value in response.fields:
        lines.append(b"%b: %b\r\n" % (name, value))
    framing = response.framing
    if framing > 0:
        lines.append(b"Content-Length: %d\r\n" % framing)
    elif framing == NO_BODY:
        if response.stated_length is not None:
            lines.append(b"Content-Length: %d\r\n" % response.stated_length)
    elif version == 1:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if response.status == 101:
        lines.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % response.upgrade)
    elif not keep_alive and response.status >= 200:
        lines.append(b"Connection: close\r\n")
    elif version == 0 and response.status >= 200:
        lines.append(b"Connection: keep-alive\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)
