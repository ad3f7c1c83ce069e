"""What clients are told when a request comes to nothing."""

from __future__ import annotations

import json
import re
from http import HTTPStatus

import pytest

from appliance.http.errorpages import ErrorPages, RequestIds
from appliance.http.http1 import read_response, write_response
from appliance.http.message import RequestHead


def request(accept: bytes = b"") -> RequestHead:
    """A request that asks for this."""
    made = RequestHead(b"GET", b"/<script>", 1)
    made.fields = [(b"Accept", accept), (b"User-Agent", b"<script>")] if accept else []
    return made


@pytest.mark.parametrize("status", [status.value for status in HTTPStatus if status >= 400])
def test_built_in(status: int) -> None:
    """Every error status has a short page that says what happened and is never stored."""
    head, body = ErrorPages().answer(status, request(), [(b"Allow", b"GET")])
    again = read_response(write_response(head, 1, True), b"GET")
    assert (again.status, again.framing) == (status, len(body))
    assert dict(again.fields) == {
        b"Content-Type": b"text/html; charset=utf-8",
        b"Cache-Control": b"no-store",
        b"Allow": b"GET",
    }
    assert b"<title>%d " % status in body
    assert re.search(rb"Request [0-9a-f]{12}-100000001</small>", body)
    assert b"script" not in body
    assert b"{r" not in body
    assert len(body) < 1024


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        (b"", False),
        (b"*/*", False),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"application/json, text/plain, */*", True),
        (b"application/json;q=0.5, text/html", False),
        (b"application/*, text/html;q=0.5", True),
        (b"application/json;q=0", False),
        (b"application/json;q=x", False),
    ],
)
def test_what_the_client_prefers(accept: bytes, json_wanted: bool) -> None:
    """JSON for those who put it before HTML, a page for everybody else."""
    head, body = ErrorPages(identify=RequestIds("p-")).answer(502, request(accept))
    kind = dict(head.fields)[b"Content-Type"]
    assert kind == (b"application/problem+json" if json_wanted else b"text/html; charset=utf-8")
    if json_wanted:
        assert json.loads(body) == {
            "title": "Bad Gateway",
            "status": 502,
            "detail": "The application behind this site did not answer properly.",
            "request_id": "p-100000001",
        }


def test_ids() -> None:
    """A request has one id, its number among those observed, or one of its own; no two have the same."""
    identify = RequestIds("p-")
    first, second, observed = request(), request(), request()
    observed.number = 255
    assert (identify(first), identify(second), identify(first), identify(observed)) == (
        "p-100000001",
        "p-100000002",
        "p-100000001",
        "p-ff",
    )
    assert RequestIds().prefix != RequestIds().prefix


def test_templates() -> None:
    """The most precise template is taken; only what is known in braces is filled in."""
    pages = ErrorPages(
        {
            "502.html": "a{color:red} {status} {reason} {request_id} {request_id} {other} {explanation}",
            "5xx.html": "5xx {status}",
            "error.html": "error {status} \N{SNOWMAN}",
            "4xx.json": '{"id": "{request_id}"}',
        },
        RequestIds("p-"),
    )
    explanation = "The application behind this site did not answer properly."
    assert (
        pages.answer(502, request())[1]
        == f"a{{color:red}} 502 Bad Gateway p-100000001 p-100000001 {{other}} {explanation}".encode()
    )
    assert pages.answer(503, request())[1] == b"5xx 503"
    assert pages.answer(404, request())[1] == "error 404 \N{SNOWMAN}".encode()
    assert json.loads(pages.answer(404, request(b"application/json"))[1]) == {"id": "p-100000004"}
    assert json.loads(pages.answer(502, request(b"application/json"))[1])["request_id"] == "p-100000005"


def test_answers_are_apart() -> None:
    """Changing one answer's fields changes no other's."""
    pages = ErrorPages()
    first, second = pages.answer(502, request())[0], pages.answer(502, request())[0]
    first.fields.append((b"X", b"y"))
    assert second.fields != first.fields
