"""What h2load prints is believed only when every answer was right, and came over HTTP/2."""

from __future__ import annotations

import pytest

from bench.h2load import read_h2load
from bench.programs import BenchError

GOOD = """\
Application protocol: h2
finished in 1.03s, 937.00 req/s, 66.55KB/s
requests: 937 total, 1449 started, 937 done, 937 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 937 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 66.55KB (68143) total, 43.73KB (44775) headers (space savings 72.54%), 5.49KB (5622) data
"""


def test_answers_are_counted() -> None:
    """Those that were answered count, not those that were begun."""
    assert read_h2load(GOOD, "", 6) == 937


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", "no result: refused"),
        (GOOD.replace("937 succeeded, 0 failed", "936 succeeded, 1 failed"), "errors"),
        (GOOD.replace("937 2xx", "930 2xx"), "errors"),
        (GOOD.replace("protocol: h2", "protocol: http/1.1"), "over http/1.1"),
        (GOOD.replace("(5622)", "(5621)"), "5621 bytes in 937 answers"),
        (GOOD.replace("937", "0"), "0 answers"),
    ],
)
def test_wrong_answers_end_the_run(output: str, said: str) -> None:
    """Errors, fewer answers or bytes, another protocol: no figure comes of it."""
    with pytest.raises(BenchError, match=said):
        read_h2load(output, "refused", 6)
