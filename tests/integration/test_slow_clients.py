"""Thousands of clients that send their requests a byte at a time: all others are served as if they were not there."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.probe import Probe, percentile
from tests.support.processes import wait_for
from tests.support.slow import Client, Clients, allow_descriptors, trusting

EACH = 2000
HEADER = 20.0
BODY = 20.0
SWEEP = 2.0
"""Seconds after a deadline that its sweep may come, on a busy machine."""

HALF_A_HEADER = b"GET /echo HTTP/1.1\r\nHost: one.test\r\nX-Slow: "
HALF_A_BODY = b"POST /upload HTTP/1.1\r\nHost: one.test\r\nContent-Length: 100000\r\n\r\nslow"


def test_slow_headers_and_slow_bodies(tmp_path: Path) -> None:
    """2,000 of each at once: p99 of another client within 100 ms of before, 64 KiB a connection, all ended in time."""
    allow_descriptors(3 * EACH + 1000)
    root = shared_authority().pem
    tls = trusting(root)
    appliance = Appliance(tmp_path)
    (tmp_path / "slow").mkdir()
    with uvicorn(tmp_path) as application, uvicorn(tmp_path / "slow") as besieged:
        limits = f"[timeouts]\nheader = {HEADER}\nbody = {BODY}\n"
        sites = [(["one.test"], besieged.upstream), (["two.test"], application.upstream)]
        appliance.configure(sites, "https://127.0.0.1:1/directory", more=limits)
        for name in ("one.test", "two.test"):
            appliance.keep(name, make_certificate([name]))
        with appliance, Probe(appliance, "two.test", root, tmp_path) as probe, Clients() as clients:
            wait_for(lambda: len(probe.took()) >= 300, 30, "the idle figure")
            idle = percentile(probe.took(), 0.99)
            memory = appliance.resident()
            begins = time.monotonic()
            headers = clients.open(EACH, lambda: _begin(appliance, tls, HALF_A_HEADER))
            bodies = clients.open(EACH, lambda: _begin(appliance, tls, HALF_A_BODY))
            turns = itertools.count()

            def trickle() -> None:
                for client in clients.all[next(turns) % 30 :: 30]:
                    if client.ended is None:
                        client.send(b"x")

            clients.watch(3, every=0.1, act=trickle)
            each = (appliance.resident() - memory) / (2 * EACH)
            at_once = len(clients.standing)
            clients.watch(HEADER + BODY, every=0.1, act=trickle)
            busy = percentile(probe.took(since=begins), 0.99)

            print(f"p99 idle {idle * 1000:.1f} ms, beside them {busy * 1000:.1f} ms; {each / 1024:.1f} KiB each")
            assert at_once == 2 * EACH, f"only {at_once} were open at once: the machine is too slow for these deadlines"
            assert not clients.standing
            assert max(_took(client) for client in headers) < HEADER + SWEEP
            assert max(_took(client) for client in bodies) < BODY + SWEEP
            assert {client.status for client in clients.all} == {408}
            assert busy < idle + 0.1
            assert each < 64 * 1024
            assert "Traceback" not in appliance.output()


def _begin(appliance: Appliance, tls: object, data: bytes) -> Client:
    client = Client(appliance.https_port, tls)  # type: ignore[arg-type]
    client.began_waiting = time.monotonic()
    client.send(data)
    return client


def _took(client: Client) -> float:
    assert client.ended is not None
    return client.ended - client.began_waiting
