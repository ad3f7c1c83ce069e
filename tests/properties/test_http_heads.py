"""Heads: what is accepted is canonical, and means the same again when it is read again."""

from __future__ import annotations

import contextlib
import re

import httptools
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Limits
from appliance.errors import RequestError, UpstreamError
from appliance.http.headers import REQUEST_NOT_FORWARDED, RESPONSE_NOT_FORWARDED, nominated
from appliance.http.http1 import check_partial_head, read_request, read_response, write_request, write_response
from appliance.http.message import NO_BODY, UNTIL_CLOSE
from tests.support.httpfuzz import HEAD_FRAGMENTS, RESPONSE_FRAGMENTS

LIMITS = Limits()
REQUESTS = st.lists(st.sampled_from(HEAD_FRAGMENTS) | st.binary(max_size=4), max_size=6).map(
    lambda lines: b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(lines) + b"\r\n"
)
RESPONSES = st.lists(st.sampled_from(RESPONSE_FRAGMENTS) | st.binary(max_size=4), max_size=6).map(
    lambda lines: b"HTTP/1.1 200 OK\r\n" + b"".join(lines) + b"\r\n"
)
NAMES = st.from_regex(re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}"), fullmatch=True)
VALUES = st.from_regex(
    re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]{0,12}[\x21-\x7e\x80-\xff])?)?"), fullmatch=True
)
CANONICAL = re.compile(
    rb"[A-Z\-]+ [\x21-\x7e]+ HTTP/1\.1\r\nHost: [^\r\n]+\r\n(?:[!-9;-~]+: (?:\S(?:[^\r\n\0]*\S)?)?\r\n)*\r\n"
)


class Parsed:
    """What llhttp makes of a head."""

    def __init__(self, parser: type[httptools.HttpRequestParser] | type[httptools.HttpResponseParser], data: bytes):
        self.fields: list[tuple[bytes, bytes]] = []
        with contextlib.suppress(httptools.HttpParserUpgrade):
            parser(self).feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field."""
        self.fields.append((name, value.strip(b" \t")))

    def kept(self, dropped: frozenset[bytes], without: bytes) -> list[tuple[bytes, bytes]]:
        """Those that are the application's or the client's business."""
        return [field for field in self.fields if field[0].lower() not in dropped and without not in field[0]]


@given(REQUESTS)
def test_requests_by_llhttp(data: bytes) -> None:
    """What passes without having been parsed is what a parser reads, field by field."""
    try:
        request = read_request(data, LIMITS)
    except RequestError:
        return
    kept = Parsed(httptools.HttpRequestParser, data).kept(REQUEST_NOT_FORWARDED, b"_")
    assert request.fields == kept or b"onnection" in data  # which names others that are left out


@given(RESPONSES)
def test_responses_by_llhttp(data: bytes) -> None:
    """The same for answers."""
    try:
        response = read_response(data, b"GET")
    except UpstreamError:
        return
    kept = Parsed(httptools.HttpResponseParser, data).kept(RESPONSE_NOT_FORWARDED, b"\0")
    assert response.fields == kept or b"onnection" in data


@given(REQUESTS)
def test_requests(data: bytes) -> None:
    """An accepted request goes out in canonical form, and reads the same; nothing of one connection's goes on."""
    try:
        request = read_request(data, LIMITS)
    except RequestError:
        return
    again = write_request(request, request.target, b"")
    assert CANONICAL.fullmatch(again), again
    assert not {name.lower() for name, _ in request.fields} & REQUEST_NOT_FORWARDED
    second = read_request(again, LIMITS)
    assert (second.method, second.target, second.host, second.fields) == (
        request.method,
        request.target,
        request.host,
        request.fields,
    )
    assert (second.framing, second.upgrade) == (request.framing, request.upgrade)


@given(RESPONSES)
def test_responses(data: bytes) -> None:
    """The same for answers, towards either version of client."""
    try:
        response = read_response(data, b"GET")
    except UpstreamError:
        return
    for version in (0, 1):
        again = read_response(write_response(response, version, True), b"GET")
        fields = [field for field in again.fields if field[0].lower() != b"connection"]
        assert (again.status, fields) == (response.status, response.fields)
        if version == 0 and response.framing < 0:
            assert again.framing == UNTIL_CLOSE
        elif response.framing >= 0 and response.status not in (204, 304):
            assert again.framing == response.framing or response.stated_length is None


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_fields(fields: list[tuple[bytes, bytes]]) -> None:
    """Every well-formed field that is the application's business arrives as it was, in its order."""
    kept = [(name, value) for name, value in fields if name.lower() not in REQUEST_NOT_FORWARDED and b"_" not in name]
    ours = {b"connection", b"content-length", b"transfer-encoding", b"host", b"expect", b"upgrade"}
    lines = b"".join(b"%b: %b\r\n" % field for field in fields if field[0].lower() not in ours)
    request = read_request(b"GET / HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n", LIMITS)
    assert request.fields == kept
    assert request.framing == NO_BODY


@given(st.lists(NAMES, max_size=6), st.sampled_from([b",", b", ", b" ,\t", b",,"]))
def test_nominations(names: list[bytes], separator: bytes) -> None:
    """Whatever Connection names, whatever the list looks like, is found."""
    assert nominated(separator.join(names).lower()) == {name.lower() for name in names}


@given(REQUESTS, st.lists(st.integers(0, 300), max_size=6))
def test_partial_heads(data: bytes, cuts: list[int]) -> None:
    """What is accepted whole is not refused in part."""
    try:
        read_request(data, LIMITS)
    except RequestError:
        return
    scanned = 0
    for cut in sorted(cut for cut in cuts if cut < len(data)):
        check_partial_head(data[:cut], scanned, LIMITS)
        scanned = cut
