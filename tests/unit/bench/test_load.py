"""A load's result is believed only when every answer was right."""

from __future__ import annotations

import json

import pytest

from bench.load import read_result
from bench.programs import BenchError


def result(requests: int = 10, size: int = 1000, **errors: int) -> str:
    """Return what wrk prints, with our line at its end."""
    content = {"requests": requests, "microseconds": 2_000_000, "bytes": size, "errors": {"read": 0, **errors}}
    return f"Running 2s test\n  1 threads\nRESULT {json.dumps(content)}\n"


def test_result_line_is_read() -> None:
    """Requests and seconds come from the last line, whatever stands above."""
    served = read_result(result(), "", body=6)
    assert (served.requests, served.seconds) == (10, 2.0)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("unable to connect", "no result: unable to connect"),
        (result(read=1), "errors"),
        (result(status=3), "errors"),
        (result(requests=0, size=0), "0 bytes in 0 answers"),
        (result(size=59), "59 bytes in 10 answers"),
    ],
)
def test_wrong_answers_end_the_run(output: str, said: str) -> None:
    """Errors, no answers, or fewer bytes than the bodies have: no figure comes of it."""
    with pytest.raises(BenchError, match=said):
        read_result(output, "", body=6)
