"""The whole data path under nearly correct input: it ends in well-formed requests or a refusal, however it is cut.

``FUZZ_INPUTS`` sets the number of inputs of each kind for a long run, ``FUZZ_SEED`` where it starts:
``FUZZ_INPUTS=200000 python -m pytest tests/properties/test_http_path.py -k many``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Limits, Timeouts
from tests.support.httpfuzz import REQUEST_FRAGMENTS, RESPONSE_FRAGMENTS, pieces, request_bytes, response_bytes
from tests.support.proxying import REQUEST, proxy, read_responses
from tests.support.transports import FINISHED, OPEN, RESET

INPUTS = int(os.environ.get("FUZZ_INPUTS", "800"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))

LIMITS = Limits(header_bytes=700, target_bytes=200, headers=8, body_bytes=30)


def ask(sent: list[bytes]) -> tuple[list[Any], list[int]]:
    """Send the pieces, close our half; the requests that the application got, and the statuses the client got."""
    with proxy(limits=LIMITS) as path:
        path.respond()
        client = path.client()
        for piece in sent:
            client.outgoing += piece
            path.network.settle()
        client.finish()
        got = client.take()
        requests = [request for application in path.applications for request in application.requests]
        for application in path.applications:
            assert application.error is None, application.raw
        for method, target, fields, _ in requests:
            names = [name for name, _ in fields]
            assert len([name for name in names if name in (b"host", b"content-length", b"transfer-encoding")]) <= 2
            assert not any(b"_" in name for name in names)
            assert names.count(b"host") == names.count(b"x-forwarded-for") == names.count(b"forwarded") == 1
            assert method.isalpha()
            assert target == b"*" or target.startswith(b"/")
        answers = read_answers(got, len(requests))
        assert client.saw != OPEN, "a client that closed its half, and whose every request was answered, is let go"
        path.pass_time(20)
        assert path.pool.open == len(path.deadlines) == 0
        return requests, answers


def read_answers(data: bytes, requests: int) -> list[int]:
    """The statuses of the answers, each of them complete; those of the application are as many as its requests."""
    answers: list[int] = []
    while data:
        head, found, data = data.partition(b"\r\n\r\n")
        assert found
        status = int(head.split(b" ", 2)[1])
        if status != 100:
            answers.append(status)
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or b"0")
        if data.startswith((b"ok", b"<!doctype")):  # else it answers a HEAD
            assert len(data) >= length
            data = data[length:]
    assert answers.count(200) == requests
    return answers


def judge_request(data: bytes, sent: list[bytes]) -> None:
    """One input, whole and in pieces: the application gets the same, the client is refused or not alike."""
    requests, statuses = ask([data])
    again, other = ask(sent)
    assert requests == again, data
    assert len(statuses) == len(other), data
    for one, two in zip(statuses, other, strict=True):
        assert one == two or (one >= 400 and two >= 400), (data, statuses, other)


def after_hints(data: bytes) -> bytes:
    """What follows the informational responses."""
    while data.startswith(b"HTTP/1.1 103 "):
        data = data.partition(b"\r\n\r\n")[2]
    return data


def answer(sent: list[bytes], asked: bytes, method: bytes, reset: bool) -> tuple[Any, ...]:
    """An application answers in these pieces, then ends; what the client got, and how it ended for it."""
    with proxy(timeouts=Timeouts(first_byte=20, body=20)) as path:
        client = path.client()
        client.send(asked)
        upstream = path.upstream
        for piece in sent:
            upstream.outgoing += piece
            path.network.settle()
        switched = after_hints(bytes(client.incoming)).startswith(b"HTTP/1.1 101 ")
        (upstream.reset if reset else upstream.finish)()
        got = _PROCESS.sub(b"Request 000000000000-", after_hints(client.take()))
        assert b"\x00" not in got.partition(b"\r\n\r\n")[0]
        if switched:
            client.finish()
            path.pass_time(80)
            assert path.pool.open == len(path.deadlines) == 0
            return (101,)
        answers = read_responses(got, [method], False)
        broken = client.saw == RESET
        assert client.saw != FINISHED
        complete = bool(answers) and answers[0][3]
        assert complete or broken, got
        if not broken:
            # The client's connection still works: the next request goes over a connection of its own.
            client.send(REQUEST % 2)
            assert path.upstream is not upstream
            client.reset()
        path.pass_time(80)
        assert path.pool.open == len(path.deadlines) == 0
        return (broken, *(() if broken else answers[0][:3]))


_PROCESS = re.compile(rb"Request [0-9a-f]{12}-")
"""What a page's request id begins with, of the same length in every process."""

ASKED = [
    (REQUEST % 1, b"GET"),
    ((REQUEST % 1).replace(b"GET", b"HEAD"), b"HEAD"),
    (b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"GET"),
]


def judge_response(data: bytes, sent: list[bytes], asked: int = 0, reset: bool = False) -> None:
    """One answer, whole and in pieces: the client gets the same, complete or broken off."""
    request, method = ASKED[asked]
    whole, cut = answer([data], request, method, reset), answer(sent, request, method, reset)
    assert whole == cut, (data, whole, cut)


REQUESTS = st.lists(st.sampled_from(REQUEST_FRAGMENTS) | st.binary(max_size=6), max_size=12).map(b"".join)
RESPONSES = st.lists(st.sampled_from(RESPONSE_FRAGMENTS) | st.binary(max_size=6), max_size=10).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=8)


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces."""
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:end] for start, end in pairwise(places)]


@given(REQUESTS, CUTS)
def test_requests(data: bytes, cuts: list[int]) -> None:
    """Anything a client sends becomes canonical requests or a refusal, the same however it is cut."""
    judge_request(data, cut_at(data, cuts))


@given(RESPONSES, CUTS, st.integers(0, len(ASKED) - 1), st.booleans())
def test_responses(data: bytes, cuts: list[int], asked: int, reset: bool) -> None:
    """Anything an application sends becomes a whole response, a 502, or a broken connection, however it is cut."""
    judge_response(data, cut_at(data, cuts), asked, reset)


def numbered(judge: Callable[[Random], None]) -> None:
    """Judge `INPUTS` inputs by their number; a failure names it."""
    for seed in range(SEED, SEED + INPUTS):
        try:
            judge(Random(seed))
        except Exception as error:
            raise AssertionError(f"FUZZ_SEED={seed} FUZZ_INPUTS=1") from error


@pytest.mark.timeout(INPUTS / 20 + 60)
def test_many_requests() -> None:
    """The same for nearly correct requests by the thousand."""

    def judge(random: Random) -> None:
        data = request_bytes(random)
        judge_request(data, pieces(random, data))

    numbered(judge)


@pytest.mark.timeout(INPUTS / 20 + 60)
def test_many_responses() -> None:
    """The same for nearly correct responses."""

    def judge(random: Random) -> None:
        data = response_bytes(random)
        judge_response(data, pieces(random, data), random.randrange(len(ASKED)), random.randrange(4) == 0)

    numbered(judge)
