"""The application behind a route, as requests meet it: its addresses in turn, and what is logged when none answers.

How addresses come and go is tested beside `member`, `health` and `selection`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.error import ConnectBindError
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from appliance.proxy import pool
from tests.support.proxying import OK, REQUEST, Proxy, proxy, read_responses
from tests.support.transports import OPEN, RESET, Peer

TWO = ((b"/", "127.0.0.1:8000,127.0.0.1:8001", False),)
ADDRESSES = (("127.0.0.1", 8000), ("127.0.0.1", 8001))


@contextmanager
def warnings() -> Iterator[list[str]]:
    """What is logged as a warning meanwhile."""
    logged: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"].name == "warn":
            logged.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    try:
        yield logged
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


def status(client: Peer) -> int:
    """Of the one answer that came."""
    [answer] = read_responses(client.take(), [b"GET"], True)
    return int(answer[0])


def listen(path: Proxy, *addresses: tuple[str, int]) -> None:
    """Only these addresses accept connections."""
    path.network.listeners.clear()
    for address in addresses:
        path.network.listeners[address] = path.upstreams.append


def test_in_turn() -> None:
    """Addresses get requests in turn, each over its own connections."""
    with proxy(routes=TWO) as path:
        listen(path, *ADDRESSES)
        client = path.client()
        for _ in range(4):
            client.send(REQUEST % 1)
            for upstream in path.upstreams:
                if upstream.take():
                    upstream.send(OK)
            assert client.take() == OK
        assert sorted(map(str, path.network.dialled)) == sorted(map(str, ADDRESSES))
        assert [pool.idle for pool in path.pools.values()] == [1, 1]


def test_passed_over() -> None:
    """An address that refuses is passed over within the request, POST included: nothing was sent yet."""
    for good in ADDRESSES:
        with proxy(routes=TWO) as path:
            listen(path, good)
            for _ in range(4):
                client = path.client()
                client.send(b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nhi")
                assert path.upstream.take().endswith(b"\r\n\r\nhi")
                path.upstream.send(OK)
                assert client.take() == OK
            assert set(path.network.dialled[:2]) >= {good}


def test_none_there() -> None:
    """Where every address refuses, the answer is 502 and the log names each with its reason."""
    with proxy(routes=TWO) as path, warnings() as logged:
        listen(path)
        client = path.client()
        client.send(REQUEST % 1)
        assert status(client) == 502
        assert client.saw == OPEN
        [line] = [line for line in logged if "answered 502" in line]
        assert "example.com: GET /1: " in line
        assert line.count("Connection refused") == 2
        assert "127.0.0.1:8000" in line
        assert "127.0.0.1:8001" in line


def test_failures_are_logged_a_line_a_second() -> None:
    """A dead application does not fill the disk: one line a second, with the number of those left out."""
    with proxy() as path, warnings() as logged:
        for _ in range(5):
            client = path.client()
            client.send(REQUEST % 1)
            path.upstream.send(b"nonsense\r\n\r\n")
        path.pass_time(1)
        client = path.client()
        client.send(REQUEST % 1)
        path.upstream.send(b"nonsense\r\n\r\n")
        lines = [line for line in logged if "answered 502" in line]
        assert len(lines) == 2
        assert "malformed status line" in lines[0]
        assert "(and 4 more since the last such line)" in lines[1]


def test_no_query_in_the_log() -> None:
    """Queries may hold secrets: the log has the path only."""
    with proxy() as path, warnings() as logged:
        client = path.client()
        client.send(b"GET /a?token=secret HTTP/1.1\r\nHost: example.com\r\n\r\n")
        path.upstream.finish()
        assert any("GET /a:" in line for line in logged)
        assert not any("secret" in line for line in logged)


def test_close() -> None:
    """A closed upstream lets go of what is idle, and of the rest once it is answered."""
    with proxy() as path:
        first, second = path.client(), path.client()
        first.send(REQUEST % 1)
        second.send(REQUEST % 2)
        idle, busy = path.upstreams
        idle.send(OK)
        path.behind[0].close()
        path.network.settle()
        assert (idle.saw, busy.saw) == (RESET, OPEN)
        busy.send(OK)
        assert second.take() == OK
        assert busy.saw == RESET
        assert path.network.getDelayedCalls() == [path.deadlines._loop.call]


@pytest.mark.parametrize("place", ["127.0.0.1:8000", "/run/app.sock"])
def test_no_sockets_left(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When this machine has no descriptors left the request is 503, and the application is not held to refuse."""

    def no_socket(reactor: Any, *arguments: Any) -> None:
        *_, factory, _timeout = arguments
        if place.startswith("/"):
            raise OSError(errno.EMFILE, "Too many open files")  # as Twisted does for UNIX sockets
        factory.clientConnectionFailed(None, Failure(ConnectBindError(errno.EMFILE, "Too many open files")))

    with proxy(routes=[(b"/", place, False)]) as path, warnings() as logged:
        client = path.client()
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(pool, "connect_tcp", no_socket)
            meanwhile.setattr(pool, "connect_unix", no_socket)
            client.send(REQUEST % 1)
        assert b"HTTP/1.1 503 " in client.take()
        assert len(logged) == 1
        assert "this machine failed at connect: no connection to it could be begun" in logged[0]
        path.network.listeners["/run/app.sock"] = path.upstreams.append
        client.send(REQUEST % 2)
        path.upstream.send(OK)
        assert client.take() == OK
