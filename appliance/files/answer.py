"""The answer to a GET or HEAD for a representation: its head, and which bytes of the file follow."""

from __future__ import annotations

from http import HTTPStatus

from appliance.files.conditions import (
    FAILED,
    NOT_MODIFIED,
    conditions_of,
    entity_tag,
    http_date,
    range_applies,
    verdict,
)
from appliance.files.ranges import Span, content_range, length, multipart, wanted
from appliance.files.selection import Representation
from appliance.http.message import NO_BODY, Fields, RequestHead, ResponseHead

Pieces = list[bytes | Span]
"""Text that goes out as it is, and parts of the file."""


class Refusal(Exception):  # noqa: N818 - an answer
    """An error status, and the fields that explain it."""

    def __init__(self, status: int, fields: Fields) -> None:
        self.status = status
        self.fields = fields
        super().__init__(status)


def answer(
    request: RequestHead, representation: Representation, cache_control: bytes | None, now: int, boundary: bytes
) -> tuple[ResponseHead, Pieces]:
    """Head and body of a 200, 206 or 304; no body for HEAD. Raises Refusal for 412 and 416.

    ``now`` is seconds since the epoch; ``boundary`` must not be in any file: it is random, for this request.
    """
    file = representation.file
    size, modified = file.size, file.mtime_ns // 1_000_000_000
    tag = entity_tag(file.mtime_ns, size, representation.coding)
    conditions = conditions_of(request.fields)
    decided = verdict(conditions, tag, modified)
    if decided == FAILED:
        raise Refusal(412, [])
    fields = [(b"Date", http_date(now)), (b"ETag", tag), (b"Last-Modified", http_date(min(modified, now)))]
    if cache_control is not None:
        fields.append((b"Cache-Control", cache_control))
    if representation.vary:
        fields.append((b"Vary", representation.vary))
    if decided == NOT_MODIFIED:
        return _head(304, fields), []
    if representation.coding:
        fields.append((b"Content-Encoding", representation.coding))
    fields += [(b"X-Content-Type-Options", b"nosniff"), (b"Accept-Ranges", b"bytes")]
    status, kind, pieces = 200, representation.content_type, _whole(size)
    asked = conditions.get(b"range")
    if asked is not None and request.method == b"GET" and range_applies(conditions, tag, modified):
        spans = wanted(asked, size)
        if spans == []:
            raise Refusal(416, [(b"Content-Range", b"bytes */%d" % size)])
        if spans is not None:
            status = 206
            if len(spans) == 1:
                pieces = list(spans)
                fields.append((b"Content-Range", content_range(spans[0], size)))
            else:
                pieces = multipart(spans, size, kind, boundary)
                kind = b"multipart/byteranges; boundary=" + boundary
    fields.append((b"Content-Type", kind))
    head = _head(status, fields)
    total = length(pieces)
    if request.method == b"HEAD" or not total:
        head.stated_length = total
        return head, []
    head.framing = total
    return head, pieces


def _whole(size: int) -> Pieces:
    return [Span(0, size)] if size else []


def _head(status: int, fields: Fields) -> ResponseHead:
    head = ResponseHead(status, HTTPStatus(status).phrase.encode("ascii"))
    head.fields = fields
    head.framing = NO_BODY
    return head
