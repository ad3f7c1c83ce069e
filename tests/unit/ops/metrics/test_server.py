"""The listener for metrics: what it answers, whom, and that it does not hold requests up."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from appliance.errors import ListenError
from appliance.ops.metrics.server import InnerListener, MetricsPage, is_local
from tests.support.processes import eventually, free_ports


@pytest.mark.parametrize(
    "host", [b"127.0.0.1", b"127.0.0.1:9145", b"[::1]:9145", b"::1", b"localhost:9145", b"LOCALHOST", b"a.localhost:1"]
)
def test_local_hosts(host: bytes) -> None:
    """What no DNS but one's own decides."""
    assert is_local(host)


@pytest.mark.parametrize(
    "host", [b"", b"example.com", b"127.0.0.1.example.com:9145", b"localhost.example.com", b"\xff"]
)
def test_other_hosts(host: bytes) -> None:
    """Names that a stranger could have led here."""
    assert not is_local(host)


def ask(address: Any, request: bytes) -> bytes:
    """All that is answered; blocks."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def get(path: str, host: str = "127.0.0.1") -> bytes:
    """A request for it, the last one on its connection."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


class ListenerTests(TestCase):
    """Over real sockets."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.turns = 0
        self.made = 0

    def families(self) -> Iterator[Metric]:
        for number in range(3):
            self.made += 1
            yield GaugeMetricFamily(f"metric_{number}", "A metric.", value=number)

    def listening(self, *endpoints: str, public: bool = False) -> InnerListener:
        pages = {b"metrics": MetricsPage(self.reactor, self.families)}
        listener = InnerListener(self.reactor, endpoints, pages, public)
        listener.startService()
        self.addCleanup(listener.stopService)
        return listener

    def port(self, listener: InnerListener) -> Any:
        host: Any = listener.ports[0].getHost()
        return ("127.0.0.1", host.port)

    def test_other_endpoints(self) -> None:
        """What stays is not closed; where one cannot be had, nothing has changed."""
        one, two, other, another = (f"tcp:{port}:interface=127.0.0.1" for port in free_ports(4))
        listener = self.listening(one, two)
        before = listener.ports
        with pytest.raises(ListenError, match="unix:/nowhere"):
            listener.prepare([other, "unix:/nowhere/socket"])
        assert listener.ports == before
        listener.prepare([two, another])
        assert listener.ports[:2] == before
        listener.apply([two, another])
        assert listener.ports[0] is before[1]
        assert len(listener.ports) == 2

    def test_metrics(self) -> Deferred[None]:
        """All of them, in Prometheus' own format, with fields that keep browsers from doing anything with it."""
        return Deferred.fromCoroutine(self._test_metrics())

    async def _test_metrics(self) -> None:
        listener = self.listening("tcp:0:interface=127.0.0.1")
        answer = await deferToThread(ask, self.port(listener), get("/metrics"))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert b"text/plain; version=0.0.4" in head
        assert b"X-Content-Type-Options: nosniff" in head
        for number in range(3):
            assert b"\nmetric_%d %d.0\n" % (number, number) in body

    def test_refused(self) -> Deferred[None]:
        """Other paths, other methods, and hosts by names."""
        return Deferred.fromCoroutine(self._test_refused())

    async def _test_refused(self) -> None:
        port = self.port(self.listening("tcp:0:interface=127.0.0.1"))
        for request, status in (
            (get("/"), b"404"),
            (get("/metrics/more"), b"404"),
            (get("/metrics", "example.com"), b"421"),
            (get("/metrics").replace(b"GET", b"POST"), b"405"),
        ):
            answer = await deferToThread(ask, port, request)
            assert answer.split(b" ", 2)[1] == status, answer
        assert self.made == 0

    def test_public(self) -> Deferred[None]:
        """Whoever says so is asked by any name."""
        return Deferred.fromCoroutine(self._test_public())

    async def _test_public(self) -> None:
        port = self.port(self.listening("tcp:0:interface=127.0.0.1", public=True))
        answer = await deferToThread(ask, port, get("/metrics", "metrics.internal"))
        assert answer.startswith(b"HTTP/1.1 200")

    def test_unix_socket(self) -> Deferred[None]:
        """Asked by any name without a dot; a browser may get there, by ssh, under a name that somebody made up."""
        return Deferred.fromCoroutine(self._test_unix_socket())

    async def _test_unix_socket(self) -> None:
        path = Path(self.mktemp()).absolute()
        self.listening(f"unix:{path}:mode=600")
        answer = await deferToThread(ask, str(path), get("/metrics", "appliance"))
        assert answer.startswith(b"HTTP/1.1 200")
        assert path.stat().st_mode & 0o777 == 0o600
        answer = await deferToThread(ask, str(path), get("/metrics", "rebound.example"))
        assert answer.startswith(b"HTTP/1.1 421")

    def test_taken_port(self) -> None:
        """That is said with the endpoint."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            listener = InnerListener(self.reactor, [endpoint], {}, False)
            with pytest.raises(ListenError, match=endpoint):
                listener.startService()
            listener.stopService()

    def test_a_client_that_leaves(self) -> Deferred[None]:
        """Nothing is made for it any more, and nothing is logged."""
        return Deferred.fromCoroutine(self._test_a_client_that_leaves())

    async def _test_a_client_that_leaves(self) -> None:
        asked: list[bool] = []

        def endless() -> Iterator[Metric]:
            try:
                while True:
                    yield GaugeMetricFamily("metric", "A metric.", value=1)
            finally:
                asked.append(True)

        listener = InnerListener(
            self.reactor, ["tcp:0:interface=127.0.0.1"], {b"metrics": MetricsPage(self.reactor, endless)}, False
        )
        listener.startService()
        self.addCleanup(listener.stopService)
        with socket.create_connection(self.port(listener)) as client:
            client.sendall(get("/metrics"))
            await eventually(self.reactor, lambda: _readable(client), 5)
        await eventually(self.reactor, lambda: asked, 10, "the end")


def _readable(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return bool(client.recv(100))
    except BlockingIOError:
        return False
