"""Where metrics and the status page are to be had: a listener of their own, apart from those of the sites."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from twisted.application.service import Service
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from appliance.errors import ListenError
from appliance.net.opening import leave_to_others, open_port
from appliance.ops.boundedrequest import BoundedRequest
from appliance.process.inheritance import Inheritance
from appliance.tls.endpoint import PlainListening

IDLE_TIMEOUT = 60
"""Seconds that a connection may be silent."""

SECURITY = {
    b"Cache-Control": b"no-store",
    b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
    b"Referrer-Policy": b"no-referrer",
    b"X-Content-Type-Options": b"nosniff",
}
"""Header fields of every answer; a page may allow itself more."""

READING = (b"GET", b"HEAD")
"""What pages answer that do not say otherwise by their ``methods``."""

_log = Logger()


class InnerListener(Service):
    """Serves ``pages`` by their paths on some endpoints while it runs.

    Unless ``public``, only requests addressed to this machine are answered, by number or as localhost: a page that an
    operator looks at must not reach it under a name that its author made lead here.
    """

    def __init__(
        self,
        reactor: Any,
        endpoints: Sequence[str],
        pages: Mapping[bytes, Resource],
        public: bool,
        inherited: Inheritance | None = None,
    ) -> None:
        """``inherited`` has the sockets of those endpoints that another process opened."""
        self._listening = PlainListening(reactor)
        self._endpoints = tuple(endpoints)
        self._inherited = inherited
        self._root = _Root(pages, public)
        timing: Any = {"timeout": IDLE_TIMEOUT, "reactor": reactor}
        self._site: Any = Site(self._root, requestFactory=BoundedRequest, **timing)
        self._site.displayTracebacks = False
        self._site.noisy = False
        self._connections: Any = WrappingFactory(self._site)
        self._connections.noisy = False
        self._open: dict[str, IListeningPort] = {}

    @property
    def ports(self) -> list[IListeningPort]:
        """Those that are open."""
        return list(self._open.values())

    def add(self, path: bytes, page: Resource) -> None:
        """One more page."""
        self._root.putChild(path, page)

    def startService(self) -> None:
        """Open the endpoints; raises ListenError if one cannot be."""
        super().startService()  # type: ignore[no-untyped-call]
        self.prepare(self._endpoints)

    def prepare(self, endpoints: Sequence[str]) -> None:
        """Open those that are not open yet, all of them; raises ListenError if one cannot be. Closes nothing else."""
        opened: dict[str, IListeningPort] = {}
        for endpoint in endpoints:
            if endpoint in self._open:
                continue
            failures: list[Failure] = []
            opening = open_port(self._listening, endpoint, self._connections, self._inherited)
            opening.addCallbacks(lambda port, endpoint=endpoint: opened.update({endpoint: port}), failures.append)
            if failures:
                _close(opened.values())
                raise ListenError(f"metrics: cannot listen on {endpoint}: {failures[0].getErrorMessage()}")
        self._open.update(opened)

    def apply(self, endpoints: Sequence[str]) -> None:
        """Have these, which have been prepared, and no others."""
        leaving = [endpoint for endpoint in self._open if endpoint not in endpoints]
        _close([self._open.pop(endpoint) for endpoint in leaving])
        self._endpoints = tuple(endpoints)

    def sockets(self) -> dict[str, int]:
        """The open sockets, by endpoint."""
        return {endpoint: cast(Any, port).fileno() for endpoint, port in self._open.items()}

    def pause(self) -> None:
        """Accept nobody for now: another process that has these sockets does."""
        for port in self.ports:
            cast(Any, port).stopReading()

    def resume(self) -> None:
        """Accept again."""
        for port in self.ports:
            cast(Any, port).startReading()

    def leave(self) -> None:
        """Let the other process keep the sockets, and have those come to it that are still connected here."""
        for port in self.ports:
            leave_to_others(port)
        for connection in list(self._connections.protocols):
            connection.transport.loseConnection()

    def stopService(self) -> Deferred[None]:
        """Close them."""
        super().stopService()  # type: ignore[no-untyped-call]
        ports = self.ports
        self._open.clear()
        return _close(ports)


def _close(ports: Iterable[IListeningPort]) -> Deferred[None]:
    closing = DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
    return closing.addCallback(lambda _: None)


class _Root(Resource):
    """Looks at what is common to all requests."""

    def __init__(self, pages: Mapping[bytes, Resource], public: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._public = public
        for path, page in pages.items():
            self.putChild(path, page)

    def getChildWithDefault(self, path: bytes, request: Request) -> Resource:
        """See Resource."""
        for name, value in SECURITY.items():
            request.setHeader(name, value)
        host = request.getHeader(b"host") or b""
        # A socket's file may be what ``ssh -L`` leads a browser to. Whatever is no name with a dot is nobody's DNS.
        by_socket = isinstance(request.getHost(), UNIXAddress) and b"." not in host
        if not (self._public or by_socket or is_local(host)):
            return _Refusal(421, b"This is to be asked for by its address, or as localhost.\n")
        if path not in self.children or request.postpath:
            return _Refusal(404, b"There is nothing here.\n")
        found: Resource = self.children[path]
        allowed: tuple[bytes, ...] = getattr(found, "methods", READING)
        if request.method not in allowed:
            request.setHeader(b"Allow", b", ".join(allowed))
            return _Refusal(405, b"This is asked for in another way.\n")
        return found


def is_local(host: bytes) -> bool:
    """Whether a ``Host`` field has no name that somebody else's DNS could have led here."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Refusal(Resource):
    isLeaf = True

    def __init__(self, status: int, words: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._status = status
        self._words = words

    def render(self, request: Request) -> bytes:
        """See Resource."""
        request.setResponseCode(self._status)
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return self._words


class _Family(Collector):
    """One metric as a registry, which is what can be written."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        return [self._family]


class MetricsPage(Resource):
    """``/metrics`` as Prometheus reads it. Metrics are made one after the other, with requests served in between."""

    isLeaf = True

    def __init__(self, clock: Any, families: Callable[[], Iterable[Metric]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._clock = clock
        self._families = families

    def render_GET(self, request: Request) -> int:
        """See Resource."""
        request.setHeader(b"Content-Type", CONTENT_TYPE_PLAIN_0_0_4.encode("ascii"))
        writing = Deferred.fromCoroutine(self._write(request))
        request.notifyFinish().addErrback(lambda _: writing.cancel())
        writing.addErrback(_explain)
        return NOT_DONE_YET

    async def _write(self, request: Request) -> None:
        for family in self._families():
            request.write(generate_latest(_Family(family)))
            await deferLater(self._clock, 0, lambda: None)
        request.finish()


def _explain(failure: Failure) -> None:
    if not failure.check(CancelledError, ConnectionDone, ConnectionLost):
        _log.failure("metrics could not be told", failure)
