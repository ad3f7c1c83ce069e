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
from appliance.config.ops import AccessLog, Metrics
from appliance.ops.metrics.server import _Family
from appliance.ops.watching import Watch
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
        network.pass_time(1)
        line = json.loads(path.read_text())
        assert line["target"] == "/?key=REDACTED"
        assert received.lower().count(b"x-request-id") == 1
        assert b"X-Request-Id: %b\r\n" % line["id"].encode() in received
        path.rename(tmp_path / "access.log.1")
        network.exchange(network.client(), REQUEST, OK)
        watch.reopen_logs()
        network.pass_time(1)
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


def test_another_access_log(tmp_path: Path) -> None:
    """Connections that stand go on into the new one; then there is none, then one again."""
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    configurations = [evolve(CONFIGURATION, access_log=AccessLog(path)) for path in (first, second)]
    with proxy() as network:
        watch = Watch(network.network, configurations[0], defer, utc_now)
        watch.startService()
        network.observer = watch.observer
        client = network.client()
        network.exchange(client, REQUEST, OK)
        watch.apply(configurations[1])
        network.exchange(client, REQUEST, OK)
        network.pass_time(1)
        watch.apply(evolve(CONFIGURATION, access_log=None))
        network.exchange(client, REQUEST, OK)
        network.pass_time(1)
        watch.apply(configurations[0])
        network.exchange(client, REQUEST, OK)
        network.pass_time(1)
        watch.stopService()
    assert len(first.read_text().splitlines()) == 2
    assert len(second.read_text().splitlines()) == 1


def test_an_access_log_where_there_was_nothing(tmp_path: Path) -> None:
    """The observer is new, for connections to come; while nothing changes, nothing is made."""
    watch = Watch(Clock(), CONFIGURATION, defer, utc_now)
    watch.apply(CONFIGURATION)
    assert watch.observer is None
    watch.apply(evolve(CONFIGURATION, access_log=AccessLog(tmp_path / "log", request_id_header="X-Request-Id")))
    assert watch.observer is not None
    assert watch.request_id is not None
    watch.startService()
    watch.stopService()


def test_other_metrics() -> None:
    """Listeners open and close; the numbers are bounded otherwise."""
    before, after = (evolve(CONFIGURATION, metrics=Metrics((), max_sites=most)) for most in (10, 20))
    watch = Watch(Clock(), before, defer, utc_now)
    watch.prepare(after)
    watch.apply(after)
    assert watch.counts is not None
    assert watch.counts.most == 20
    assert watch.sources is not None
    assert watch.sources.most == 20


def test_the_status_page() -> None:
    """Beside the metrics, but not where those are public, nor without them."""
    for settings, there in (
        (Metrics(("tcp:0:interface=127.0.0.1",)), True),
        (Metrics(("tcp:0:interface=127.0.0.1",), buttons=False), True),
        (Metrics(("tcp:0",), public=True), False),
        (None, False),
    ):
        watch = Watch(Clock(), evolve(CONFIGURATION, metrics=settings), defer, utc_now)
        watch.add_status_page({})
        pages = watch.listener._root.children if watch.listener is not None else {}
        assert (b"" in pages, b"press" in pages) == (there, there)
