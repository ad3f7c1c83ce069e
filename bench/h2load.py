"""Load over HTTP/2: nghttp2's h2load, many requests at once on each of a few connections."""

from __future__ import annotations

import re

from bench.credentials import HOST
from bench.programs import BenchError, find_program

CONNECTIONS = 16

_REQUESTS = re.compile(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_STATUS = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_DATA = re.compile(r"\((\d+)\) data$", re.MULTILINE)
_PROTOCOL = re.compile(r"^Application protocol: (\S+)$", re.MULTILINE)


def h2load_command(path: str, port: int, seconds: int, streams: int) -> list[str]:
    """Return the command for one run, so many requests at a time on each connection; raises :exc:`BenchError`."""
    h2load = find_program("h2load")
    if h2load is None:
        raise BenchError("the load over HTTP/2 needs h2load: apt-get install nghttp2-client")
    shape = ["-D", str(seconds), "-c", str(CONNECTIONS), "-m", str(streams)]
    return [h2load, *shape, f"--connect-to=127.0.0.1:{port}", f"https://{HOST}:{port}{path}"]


def read_h2load(output: str, errors: str, body: int) -> int:
    """Return how many requests h2load says were answered; ``body`` is what each must have brought, in bytes.

    Raises :exc:`BenchError` unless all of them came right, over HTTP/2.
    """
    requests, status, data = _REQUESTS.search(output), _STATUS.search(output), _DATA.search(output)
    protocol = _PROTOCOL.search(output)
    if requests is None or status is None or data is None or protocol is None:
        raise BenchError(f"h2load printed no result: {(output + errors).strip()}")
    done, succeeded, *wrong = map(int, requests.groups())
    good, *others = map(int, status.groups())  # of heads: more than there are answers, when the time is up
    if any(wrong) or done != succeeded or good < done or any(others) or protocol[1] != "h2":
        raise BenchError(f"h2load saw errors over {protocol[1]}: {requests[0]}; {status[0]}")
    if not done or int(data[1]) < done * body:
        raise BenchError(f"h2load got {data[1]} bytes in {done} answers")
    return done
