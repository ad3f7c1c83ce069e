"""Connections to one address: which of them is used, and when they are given up."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import pytest

from appliance.config import Backend, Timeouts, UpstreamAddress
from appliance.errors import UpstreamError
from appliance.net.deadlines import Deadlines
from appliance.net.proxyprotocol import Connection
from appliance.proxy.connection import UpstreamConnection
from appliance.proxy.pool import Pool
from tests.support.proxying import OK, REQUEST, Proxy, proxy
from tests.support.transports import OPEN, RESET, Network, Peer


def several(path: Proxy, count: int) -> list[Peer]:
    """So many connections to the application, all idle."""
    clients = [path.client() for _ in range(count)]
    for client in clients:
        client.send(REQUEST % 1)
    for upstream in path.upstreams:
        upstream.take()
        upstream.send(OK)
    return list(path.upstreams)


def test_last_used_first() -> None:
    """The connection used last is used next, so that those not needed end in a lull."""
    with proxy() as path:
        first, second = several(path, 2)
        client = path.client()
        for _ in range(3):
            client.send(REQUEST % 2)
            assert second.take()
            second.send(OK)
        assert first.take() == b""
        assert (path.pool.open, path.pool.idle) == (2, 2)


def test_not_used_any_more() -> None:
    """A connection that has been idle too long is not used, even where the sweep has not come by yet."""
    with proxy(timeouts=Timeouts(upstream_idle=1.5)) as path:
        [first] = several(path, 1)
        path.network.advance(1.6)
        client = path.client()
        client.send(REQUEST % 2)
        assert first.saw == RESET
        assert path.upstream is not first
        path.upstream.send(OK)
        assert client.take() == OK


def test_busy_ones_are_nobody_elses() -> None:
    """A connection serves one request at a time; others get their own."""
    with proxy() as path:
        clients = [path.client() for _ in range(3)]
        for client in clients:
            client.send(REQUEST % 1)
        assert len(path.upstreams) == path.pool.open == 3
        assert path.pool.idle == 0


def test_close() -> None:
    """A closed pool closes what is idle at once, and the rest when it comes back."""
    with proxy() as path:
        busy = path.client()
        idle, *_ = several(path, 1)
        busy.send(REQUEST % 1)
        assert path.upstream is idle
        another = path.client()
        another.send(REQUEST % 2)
        path.upstream.send(OK)
        path.pool.close()
        path.network.settle()
        assert (path.upstream.saw, idle.saw) == (RESET, OPEN)
        idle.send(OK)
        assert busy.take() == OK
        assert idle.saw == RESET
        assert path.pool.open == 0


def test_no_delay() -> None:
    """Small pieces of a body, and messages of a tunnel, are not held back until the application has acknowledged."""
    with proxy() as path:
        path.client().send(REQUEST % 1)
        assert path.upstream.prompt


def test_unix_socket() -> None:
    """An application may listen on a UNIX socket."""
    with proxy(routes=((b"/", "/run/app.sock", False),)) as path:
        path.network.listeners["/run/app.sock"] = path.upstreams.append
        client = path.client()
        received, got = path.exchange(client, REQUEST % 1, OK)
        assert (path.network.dialled, got) == (["/run/app.sock"], OK)
        assert not path.upstream.prompt  # there is no such option there
        assert b"Host: example.com\r\n" in received


class TestProbe:
    """For a request that cannot be sent twice, an idle connection is looked at before it is used."""

    def idle(self, ours: Any) -> tuple[Pool, UpstreamConnection]:
        """A pool with one idle connection over a socket."""
        network = Network()
        pool = Pool(network, UpstreamAddress("127.0.0.1", 8000), Deadlines(network), Timeouts(), Backend())
        connection = UpstreamConnection(pool, pool.deadlines, pool.timeouts)
        network.connect(connection)
        connection.transport.socket = ours
        pool.opened(connection)
        connection.deadline = 10
        pool.released(connection)
        return pool, connection

    def test_quiet(self) -> None:
        """An open connection with nothing to read is good."""
        ours, theirs = socket.socketpair()
        with closing(ours), closing(theirs):
            pool, connection = self.idle(ours)
            assert pool.take_idle(True) is connection

    @pytest.mark.parametrize("unasked", [b"", b"HTTP/1.1 408 "])
    def test_news(self, unasked: bytes) -> None:
        """One that was closed, or has something to say, is not."""
        ours, theirs = socket.socketpair()
        with closing(ours), closing(theirs):
            if unasked:
                theirs.send(unasked)
            else:
                theirs.close()
            pool, _ = self.idle(ours)
            assert pool.take_idle(True) is None
            assert pool.open == 0
            pool, connection = self.idle(ours)
            assert pool.take_idle(False) is connection

    def test_broken(self) -> None:
        """Nor is one whose socket only gives an error."""
        ours, theirs = socket.socketpair()
        theirs.close()
        ours.close()
        pool, _ = self.idle(ours)
        assert pool.take_idle(True) is None

    def test_unknown(self) -> None:
        """Where there is no socket to look at, there is no telling."""
        pool, connection = self.idle(None)
        assert pool.take_idle(True) is connection


class TestDial:
    @pytest.fixture
    def path(self) -> Any:
        """A data path."""
        with proxy() as made:
            yield made

    def test_ends_once(self, path: Proxy) -> None:
        """A dial ends with one call; cancelling it afterwards changes nothing."""
        connected: list[UpstreamConnection] = []
        failed: list[UpstreamError] = []
        dial = path.pool.dial(connected.append, failed.append)
        dial.start()
        path.network.settle()
        assert (len(connected), failed) == (1, [])
        dial.cancel()
        path.network.settle()
        assert path.upstream.saw == OPEN

    def test_cancelled(self, path: Proxy) -> None:
        """A cancelled one ends with none, also when cancelled twice."""
        dial = path.pool.dial(pytest.fail, pytest.fail)  # type: ignore[arg-type]
        dial.start()
        dial.cancel()
        dial.cancel()
        path.pass_time(10)
        assert (path.upstreams, path.pool.open) == ([], 0)

    def test_refused(self, path: Proxy) -> None:
        """A refusal names its reason and its phase."""
        path.network.listeners.clear()
        failed: list[UpstreamError] = []
        path.pool.dial(pytest.fail, failed.append).start()  # type: ignore[arg-type]
        path.network.settle()
        [error] = failed
        assert (error.phase, error.status) == ("connect", 502)
        assert "refused" in str(error)


def test_ends() -> None:
    """The two ends of a client's connection, for the PROXY protocol; a UNIX socket has none."""
    with proxy() as path:
        server = path.server()
        client = path.network.connect(server)
        assert server.ends == Connection("192.0.2.7", 40000, "192.0.2.1", 443)
        client.transport._remote = client.transport._local = None
        assert server.ends is None
