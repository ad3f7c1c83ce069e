"""The heads of an HTTP/2 client (RFC 9113 section 8.3): requests to header lists, and header lists to responses.

The counterpart of `http2headers`, and as strict: an application's answer is held to the same rules over both versions.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from appliance.http.headers import RESPONSE_NOT_FORWARDED
from appliance.http.http2frames import Http2StreamError
from appliance.http.http2headers import CONNECTION_SPECIFIC, list_bytes, malformed, split_fields
from appliance.http.message import CHUNKED, NO_BODY, Fields, RequestHead, ResponseHead

LIST_BYTES = 64 * 1024
"""The largest header list that a response may have, as SETTINGS_MAX_HEADER_LIST_SIZE counts it."""

_PSEUDO = frozenset({b":status"})
_STATUS = re.compile(rb"[1-5][0-9][0-9]")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


def request_fields(request: RequestHead, target: bytes, scheme: bytes, own_fields: bytes) -> Fields:
    """The header list of a request; ``own_fields`` are lines that the appliance itself sets (see `http1`)."""
    fields: Fields = [
        (b":method", request.method),
        (b":scheme", scheme),
        (b":authority", request.authority),
        (b":path", target),
    ]
    fields += [(name.lower(), value) for name, value in request.fields]
    for line in own_fields.split(b"\r\n"):
        name, separator, value = line.partition(b": ")
        if separator and (name := name.lower()) not in CONNECTION_SPECIFIC:
            fields.append((name, value))
    if request.framing > 0 or (request.framing == NO_BODY and request.method in (b"POST", b"PUT", b"PATCH")):
        fields.append((b"content-length", b"%d" % request.framing))
    if request.takes_trailers:
        fields.append((b"te", b"trailers"))
    return fields


def read_response(fields: Fields, ended: bool) -> ResponseHead | Http2StreamError:
    """The response, or what is wrong with it; `frame_response` completes it for the request that it answers.

    ``ended``: it is nothing but a head.
    """
    try:
        return _read(fields, ended)
    except Http2StreamError as fault:
        return fault.with_traceback(None)


def _read(fields: Fields, ended: bool) -> ResponseHead:
    if list_bytes(fields) > LIST_BYTES:
        raise malformed(f"a header larger than {LIST_BYTES} bytes")
    pseudo, regular = split_fields(fields, _PSEUDO)
    status = pseudo.get(b":status", b"")
    if not _STATUS.fullmatch(status) or status == b"101":
        raise malformed("a response without a good :status")
    response = ResponseHead(int(status), _REASONS.get(int(status), b""))
    lengths = [value for name, value in regular if name == b"content-length"]
    response.fields = [field for field in regular if field[0] not in RESPONSE_NOT_FORWARDED]
    if lengths:
        if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
            raise malformed("a malformed content-length")
        response.stated_length = int(lengths[0])
    if ended and response.status < 200:
        raise malformed("a stream that ends with a 1xx")
    return response


def frame_response(read: ResponseHead, method: bytes, ended: bool) -> ResponseHead:
    """The response to ``method``, on its own: what `read_response` made may be handed out again.

    Raises Http2StreamError if it lacks the content it announces.
    """
    response = ResponseHead(read.status, read.reason)
    response.fields = list(read.fields)
    stated = read.stated_length
    if read.status < 200 or read.status == 204:
        return response
    if ended or stated == 0 or method == b"HEAD" or read.status == 304:
        response.stated_length = stated
        if ended and stated and method != b"HEAD" and read.status != 304:
            raise malformed("a content-length, and no content")
    else:
        response.framing = CHUNKED if stated is None else stated
    return response
