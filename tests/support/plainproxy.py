"""The data path without TLS, as a program of its own: ``python -m tests.support.plainproxy PORT UPSTREAM``.

It serves every request for ``example.com`` on a TCP port of the loopback interface from one upstream.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import epollreactor
from twisted.internet.protocol import Factory

from appliance.http.server import ServerConnection
from tests.support.processes import Program, free_port

ROOT = Path(__file__).parents[2]


class PlainProxy(Program):
    """The program, for tests."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self.port = free_port()
        arguments = [sys.executable, "-m", __name__, str(self.port), upstream]
        super().__init__(arguments, folder / "proxy.log", folder=ROOT)

    def __enter__(self) -> PlainProxy:
        self.start()
        self.wait_for_port(self.port)
        return self


class _Factory(Factory):
    """Its protocols do not know it."""

    noisy = False

    def __init__(self, make: Callable[[], ServerConnection]) -> None:
        self._make = make

    def buildProtocol(self, address: object) -> Any:
        return self._make()


class _AnyCertificate:
    def covers(self, host: str) -> bool:
        return True


class _NoChallenges:
    def answer(self, path: bytes) -> None:
        return None


def main(port: int, upstream: str) -> None:
    """Run until the process is ended."""
    epollreactor.install()
    from twisted.internet import reactor as installed

    from appliance.clock import make_monotonic
    from appliance.config import Backend, Limits, Timeouts, UpstreamAddress
    from appliance.net.deadlines import Deadlines
    from appliance.net.immediate import ImmediatePort
    from appliance.proxy.handler import ProxyHandler
    from appliance.proxy.pool import Pool
    from appliance.proxy.proxied import Proxied
    from appliance.proxy.routing import RouteEntry, RouteTable, SiteRoutes
    from appliance.proxy.upstream import Upstream

    reactor: Any = installed
    make_monotonic(reactor)
    deadlines = Deadlines(reactor)
    deadlines.startService()
    if upstream.startswith("unix:"):
        address = UpstreamAddress(path=upstream.removeprefix("unix:"))
    else:
        host, _, number = upstream.removeprefix("http://").rpartition(":")
        address = UpstreamAddress(host, int(number))
    pool = Pool(reactor, address, deadlines, Timeouts(), Backend())
    site = SiteRoutes("example.com", [RouteEntry(b"/", Proxied(Upstream("example.com", [pool])))])
    handler = ProxyHandler(RouteTable({b"example.com": site}), _NoChallenges(), lambda transport: _AnyCertificate())
    limits, timeouts = Limits(), Timeouts()
    factory = _Factory(lambda: ServerConnection(handler, deadlines, limits, timeouts, b"https"))
    ImmediatePort(port, factory, 128, "127.0.0.1", reactor).startListening()
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
