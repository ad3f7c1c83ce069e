"""Active health checks: what is sent, what counts as good, and what becomes of an address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from appliance.config import HealthCheck
from appliance.proxy.healthcheck import HealthChecks
from tests.support.proxying import OK, Proxy, proxy

CHECK = HealthCheck("/health?deep=1", interval=5.0, timeout=2.0)
TWO = ((b"/", "127.0.0.1:8000,127.0.0.1:8001", False),)


class Checked:
    """The first of two addresses, being checked every five seconds."""

    def __init__(self, path: Proxy, check: HealthCheck) -> None:
        self.path = path
        self.member = path.behind[0].members[0]
        self.checks = HealthChecks(self.member, check, "example.com", lambda: 0.5)
        self.checks.startService()

    def next(self, answer: bytes | None) -> bytes:
        """The next check, answered or reset; what it asked."""
        before = len(self.path.upstreams)
        while len(self.path.upstreams) == before:
            self.path.network.pass_time(0.5, 0.5)
        asked = self.path.upstream.take()
        if answer is None:
            self.path.upstream.reset()
        else:
            self.path.upstream.send(answer)
        return asked


@contextmanager
def checked(check: HealthCheck = CHECK) -> Iterator[Checked]:
    """For the length of a with-block; nothing is left over."""
    with proxy(routes=TWO) as path:
        made = Checked(path, check)
        yield made
        made.checks.stopService()
        path.pass_time(3.0)  # what a server keeps open in spite of the wish that it does not
        assert path.pool.open == 0
        path.deadlines.stopService()
        made.member.stop()
        assert not path.network.getDelayedCalls()


def test_what_is_sent() -> None:
    """One request on a connection of its own, every so often, first somewhere within the interval."""
    with checked() as check:
        asked = check.next(OK)
        assert check.path.network.seconds() == 2.5
        assert asked.startswith(b"GET /health?deep=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: appliance/")
        assert asked.endswith(b"\r\nConnection: close\r\n\r\n")
        check.next(OK)
        assert check.path.network.seconds() == 7.5


BODY = b"HTTP/1.1 %s\r\nContent-Length: 1000000\r\n\r\nnot all"


@pytest.mark.parametrize(
    "bad",
    [
        BODY % b"503 Service Unavailable",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        None,
    ],
)
def test_out_after_two_and_in_after_one(bad: bytes | None) -> None:
    """Bad answers, none, and no HTTP; the body of a good one is not waited for."""
    with checked() as check:
        check.next(bad)
        assert check.member.healthy
        check.next(OK)
        check.next(bad)
        assert check.member.healthy
        check.next(bad)
        assert not check.member.healthy
        check.next(BODY % b"204 No Content")
        assert check.member.healthy


def test_no_answer_in_time() -> None:
    """Half a head is none."""
    with checked() as check:
        for _ in range(2):
            check.next(b"HTTP/1.1 200 OK\r\n")
            check.path.pass_time(2.0)
        assert not check.member.healthy


def test_expected_statuses() -> None:
    """Those named, and no others."""
    with checked(HealthCheck("/", status=(401,))) as check:
        for _ in range(2):
            check.next(OK)
        assert not check.member.healthy
        check.next(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        assert check.member.healthy


def test_unreachable() -> None:
    """A check that cannot connect fails; an address known to refuse connections is left to those who wait for it."""
    with checked() as check:
        accept = check.path.network.listeners.pop(("127.0.0.1", 8000))
        check.path.pass_time(12.0)
        assert not check.member.healthy
        check.path.network.listeners["127.0.0.1", 8000] = accept
        check.next(OK)
        assert check.member.healthy


def test_stopped_in_the_middle() -> None:
    """The check under way is broken off."""
    with checked() as check:
        check.next(b"HTTP/1.1 200 OK\r\n")
