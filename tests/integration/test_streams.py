"""Server-sent events through the whole, TLS included: each arrives when it is sent, not with the next one."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate, shared_authority

INTERVAL = 0.25
EVENTS = 10


def test_events_come_one_by_one(tmp_path: Path) -> None:
    """Ten events, a quarter of a second apart when they leave the application and when they arrive."""
    with uvicorn(tmp_path) as application:
        appliance = Appliance(tmp_path)
        appliance.configure([(["one.test"], application.upstream)], "https://127.0.0.1:1/directory")
        appliance.keep("one.test", make_certificate(["one.test"]))
        with appliance, appliance.client("one.test", shared_authority().pem) as client:
            response = client.get(f"/events?count={EVENTS}&interval={INTERVAL}", Accept="text/event-stream")
            began = time.monotonic()
            arrived = []
            while line := response.readline():
                if line.strip():
                    arrived.append((line.decode().strip(), time.monotonic() - began))
    assert [event for event, _ in arrived] == [f"data: {number}" for number in range(EVENTS)]
    assert [at for _, at in arrived] == pytest.approx([number * INTERVAL for number in range(EVENTS)], abs=0.9)
    gaps = [after - before for (_, before), (_, after) in pairwise(arrived)]
    assert sorted(gaps)[len(gaps) // 2] > INTERVAL / 2
