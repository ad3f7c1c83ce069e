"""The parts that watch requests, put together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from prometheus_client import generate_latest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from appliance.clock import utc_now
from appliance.config import Configuration
from appliance.ops.metricsserver import _Family
from appliance.ops.watching import Watch
from appliance.opsconfig import AccessLog, Metrics
from tests.support.proxying import OK, proxy

CONFIGURATION = Configuration(())
REQUEST = b"GET /?key=1 HTTP/1.1\r\nHost: example.com\r\nX-Request-Id: mine\r\n\r\n"


def defer(function: Callable[[], Any], /) -> Deferred[Any]:
    """A thread that is done at once."""
    return maybeDeferred(function)


def test_nothing_to_watch() -> None:
    """No observer, so that requests cost nothing more."""
    watch = Watch(Clock(), CONFIGURATION, defer, utc_now)
    assert (watch.observer, watch.request_id) == (None, None)
    watch.startService()
    watch.reopen_logs()
    watch.stopService()


def test_access_log(tmp_path: Path) -> None:
    """Requests become lines; the application is told the id under which."""
    path = tmp_path / "access.log"
    settings = AccessLog(path, request_id_header="X-Request-Id")
    with proxy() as network:
        watch = Watch(network.network, evolve(CONFIGURATION, access_log=settings), defer, utc_now)
        watch.startService()
        network.observer = watch.observer
        network.handler.request_id = watch.request_id
        received, _ = network.exchange(network.client(), REQUEST, OK)
        network.pass_time(1)
        line = json.loads(path.read_text())
        assert line["target"] == "/?key=REDACTED"
        assert received.lower().count(b"x-request-id") == 1
        assert b"X-Request-Id: %b\r\n" % line["id"].encode() in received
        path.rename(tmp_path / "access.log.1")
        network.exchange(network.client(), REQUEST, OK)
        watch.reopen_logs()
        assert json.loads(path.read_text())["id"] != line["id"]
        watch.stopService()


def test_combined(tmp_path: Path) -> None:
    """The other format."""
    path = tmp_path / "access.log"
    with proxy() as network:
        watch = Watch(network.network, evolve(CONFIGURATION, access_log=AccessLog(path, "combined")), defer, utc_now)
        watch.startService()
        network.observer = watch.observer
        network.exchange(network.client(), REQUEST, OK)
        watch.stopService()
    assert path.read_text().startswith("192.0.2.7 - - [")


def test_metrics() -> None:
    """Everybody who knows something is asked; what has gathered is counted before that."""
    with proxy() as network:
        watch = Watch(
            network.network, evolve(CONFIGURATION, metrics=Metrics(("tcp:0:interface=127.0.0.1",))), defer, utc_now
        )
        assert watch.sources is not None
        watch.listener = None
        network.observer = watch.observer
        clients = SimpleNamespace(accepted=7, open=[1, 2])
        watch.add_clients("https", clients)
        watch.attach(SimpleNamespace(reports=lambda: iter(())), lambda: [], lambda: 3)  # type: ignore[arg-type]
        network.client().send(REQUEST)
        network.exchange(network.client(), REQUEST, OK)
        watch.reloaded(True)
        text = b"".join(generate_latest(_Family(each)) for each in watch._families(watch.sources)).decode()
    for line in (
        'appliance_requests_total{code="200",method="GET",site="example.com"} 1.0',
        "appliance_requests_in_flight 1.0",
        'appliance_connections{listener="https"} 2.0',
        "appliance_connections_refused_total 3.0",
        'appliance_reloads_total{outcome="success"} 1.0',
    ):
        assert f"{line}\n" in text


def test_without_metrics() -> None:
    """Whoever tells something tells nobody."""
    watch = Watch(Clock(), CONFIGURATION, defer, utc_now)
    watch.add_clients("https", SimpleNamespace(accepted=7, open=[1, 2]))
    watch.attach(SimpleNamespace(reports=lambda: iter(())), lambda: [], lambda: 3)  # type: ignore[arg-type]
    watch.reloaded(True)
    assert watch.sources is None
