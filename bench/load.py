"""The load: one thread in a closed loop, on the core that the proxy does not have; wrk wherever it can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from enum import Enum
from pathlib import Path

from attrs import frozen

from bench.credentials import HOST
from bench.h2load import CONNECTIONS, h2load_command, read_h2load
from bench.origin import BODIES
from bench.programs import BenchError, find_program, pinned

SCRIPT = Path(__file__).with_name("wrk.lua")
NEW_CONNECTIONS = Path(__file__).with_name("newconnections.py")
WEBSOCKETS = Path(__file__).with_name("websockets.py")
UPLOADED = 1024 * 1024
"""Bytes of a request's body."""

OPENSSL = """\
openssl_conf = settings
[settings]
ssl_conf = contexts
[contexts]
system_default = tls
[tls]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""
"""What the load offers: one protocol, one suite, one group, so that no contender can choose another."""


class Reuse(Enum):
    """What a request takes over from the one before it."""

    CONNECTION = "keep-alive"
    SESSION = "a new TLS connection for each, session resumed"
    NOTHING = "a new TLS connection for each, full handshake"


@frozen
class Work:
    """One kind of request; 32 are under way at any time."""

    name: str
    size: str
    path: str
    reuse: Reuse = Reuse.CONNECTION
    streams: int = 0
    """Requests at a time on each connection over HTTP/2; 0: this is HTTP/1.1."""
    websocket: bool = False
    """Messages there and back, not requests."""
    upload: bool = False
    """With a body of `UPLOADED` bytes."""

    @property
    def title(self) -> str:
        """One line for people."""
        if self.streams:
            return f"GET of {self.size} over HTTP/2, {CONNECTIONS} connections, {self.streams} at a time on each"
        if self.websocket:
            return f"WebSocket messages of {self.size} through the proxy, {CONCURRENCY} connections"
        if self.upload:
            return f"POST of {self.size}, {self.reuse.value}, {CONCURRENCY} at a time"
        return f"GET of {self.size}, {self.reuse.value}, {CONCURRENCY} at a time"


CONCURRENCY = 32

WORKS = {
    work.name: work
    for work in (
        Work("small", "6 bytes", "/small"),
        Work("10k", "10 KiB", "/10k"),
        Work("1m", "1 MiB", "/1m"),
        Work("upload", "1 MiB", "/upload", upload=True),
        Work("websocket", "125 bytes", "/websocket", websocket=True),
        Work("connect", "6 bytes", "/small", Reuse.NOTHING),
        Work("resume", "6 bytes", "/small", Reuse.SESSION),
        Work("h2", "6 bytes", "/small", streams=32),
        Work("h2-1m", "1 MiB", "/1m", streams=2),
    )
}
"""All kinds of requests by name."""


@frozen
class Served:
    """What the load got in one run."""

    requests: int
    seconds: float
    latency: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Milliseconds, where wrk was the load: the median, the 99th percentile, the longest."""


def run_load(work: Work, port: int, seconds: int, core: int, folder: Path, concurrency: int = CONCURRENCY) -> Served:
    """Ask a proxy for ``seconds``; raises :exc:`BenchError` if a single answer went wrong."""
    settings = folder / "openssl.cnf"
    settings.write_text(OPENSSL)
    ended = subprocess.run(
        [*pinned(core), *_command(work, port, seconds, concurrency)],
        env={**os.environ, "OPENSSL_CONF": str(settings)},
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
    )
    body = len(BODIES.get(work.path, b""))
    if work.streams:
        return Served(read_h2load(ended.stdout, ended.stderr, body), seconds)
    return read_result(ended.stdout, ended.stderr, body)


def _command(work: Work, port: int, seconds: int, concurrency: int) -> list[str]:
    if work.streams:
        return h2load_command(work.path, port, seconds, work.streams)
    if work.reuse is Reuse.NOTHING:
        return [sys.executable, "-I", str(NEW_CONNECTIONS), str(port), str(seconds), str(concurrency), HOST, work.path]
    if work.websocket:
        return [sys.executable, "-I", str(WEBSOCKETS), str(port), str(seconds), str(concurrency), HOST, work.path]
    wrk = find_program("wrk")
    if wrk is None:
        raise BenchError("the load needs wrk: apt-get install wrk")
    close = ["-H", "Connection: close"] if work.reuse is Reuse.SESSION else []
    shape = ["-t1", f"-c{concurrency}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    upload = ["--", str(UPLOADED)] if work.upload else []
    return [wrk, *shape, *close, f"https://{HOST}:{port}{work.path}", *upload]


def read_result(output: str, errors: str, body: int) -> Served:
    """Read what the load printed; ``body`` is the least that each answer must have brought, in bytes."""
    lines = [line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise BenchError(f"the load printed no result: {(output + errors).strip()}")
    result = json.loads(lines[-1])
    if any(result["errors"].values()):
        raise BenchError(f"the load saw errors beside {result['requests']} answers: {result['errors']}")
    if not result["requests"] or result["bytes"] < result["requests"] * body:
        raise BenchError(f"the load got {result['bytes']} bytes in {result['requests']} answers")
    median, p99, longest = (each / 1000 for each in result.get("latency", (0, 0, 0)))
    return Served(result["requests"], result["microseconds"] / 1e6, (median, p99, longest))
