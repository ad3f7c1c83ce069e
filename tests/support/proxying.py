"""The whole data path in memory: clients, the appliance's protocols, its pools, upstreams that tests speak for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

import h11

from appliance.config import Backend, Limits, Timeouts, UpstreamAddress
from appliance.http.message import RequestHead
from appliance.http.server import ServerConnection
from appliance.net.deadlines import Deadlines
from appliance.ops.observer import RequestObserver
from appliance.proxy import pool as pool_module
from appliance.proxy.handler import ProxyHandler
from appliance.proxy.http2pool import Http2Pool
from appliance.proxy.pool import Pool
from appliance.proxy.proxied import Proxied
from appliance.proxy.routing import RouteEntry, RouteTable, SiteRoutes
from appliance.proxy.trust import TrustedProxies
from appliance.proxy.upstream import IMPATIENT, Upstream
from tests.support.transports import Network, Peer

HOST = b"example.com"
REQUEST = b"GET /%d HTTP/1.1\r\nHost: example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TOKEN_PATH = b"/.well-known/acme-challenge/token"

Routes = Sequence[tuple[bytes, str, bool]]


class Certificate:
    """A certificate for some names, as far as a handler asks."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def covers(self, host: str) -> bool:
        return host in self._names


class Challenges:
    """One challenge being presented."""

    def answer(self, path: bytes) -> bytes | None:
        return b"token.thumbprint" if path == TOKEN_PATH else None


class Proxy:
    """A site, ``example.com``, in front of one application at 127.0.0.1:8000; see `proxy` for what may differ."""

    def __init__(
        self, limits: Limits, timeouts: Timeouts, trusted: Sequence[str], routes: Routes, backend: Backend = IMPATIENT
    ) -> None:
        self.network = Network()
        self.limits = limits
        self.timeouts = timeouts
        self.observer: RequestObserver | None = None
        """Set by those who want to know what becomes of what `client` sends."""
        self.deadlines = Deadlines(self.network)
        self.deadlines.startService()
        self.backend = backend
        self.pools: dict[str, Pool] = {}
        self.upstreams: list[Peer] = []
        """The test's ends of the connections to the application, in the order they were opened."""
        self.applications: list[Application] = []
        """As ``upstreams``, when `respond` was called."""
        self.network.listeners["127.0.0.1", 8000] = self.upstreams.append
        self.behind = [self._upstream(place) for _, place, _ in routes]
        """What each route leads to."""
        entries = [
            RouteEntry(prefix, Proxied(upstream), strip)
            for (prefix, _, strip), upstream in zip(routes, self.behind, strict=True)
        ]
        self.handler = ProxyHandler(
            RouteTable({HOST: SiteRoutes("example.com", entries), b"other.example": SiteRoutes("other", entries)}),
            Challenges(),
            lambda transport: Certificate("example.com"),
            TrustedProxies(ip_network(network) for network in trusted),
        )

    def _upstream(self, places: str) -> Upstream:
        pools = [self.pools.setdefault(place, self._pool(place)) for place in places.split(",")]

        def identify(request: RequestHead) -> str:
            return self.handler.errors.identify(request)

        return Upstream("example.com", pools, self.backend, random=lambda: 0.0, identify=identify)

    def _pool(self, place: str) -> Pool:
        host, _, port = place.rpartition(":")
        address = UpstreamAddress(path=place) if place.startswith("/") else UpstreamAddress(host, int(port))
        kind = Http2Pool if self.backend.http2 else Pool
        return kind(self.network, address, self.deadlines, self.timeouts, self.backend)

    @property
    def pool(self) -> Pool:
        """The pool of the first address."""
        return next(iter(self.pools.values()))

    @property
    def upstream(self) -> Peer:
        """The newest connection to the application."""
        return self.upstreams[-1]

    def server(self, scheme: bytes = b"https") -> ServerConnection:
        """A protocol for one client."""
        return ServerConnection(
            self.handler, self.deadlines, self.limits, self.timeouts, scheme, observer=self.observer
        )

    def client(self, host: str = "192.0.2.7") -> Peer:
        """A client's connection, open."""
        return self.network.connect(self.server(), host)

    def exchange(self, client: Peer, request: bytes, response: bytes, piece: int | None = None) -> tuple[bytes, bytes]:
        """Send a request, answer it; what the application and the client got."""
        client.send(request, piece)
        received = self.upstream.take()
        self.upstream.send(response, piece)
        return received, client.take()

    def pass_time(self, seconds: float) -> None:
        """Let so much time go by."""
        self.network.pass_time(seconds)

    def respond(self, response: bytes = OK) -> None:
        """From now on the application speaks for itself: it answers every request that it gets in whole."""

        def accept(peer: Peer) -> None:
            self.upstreams.append(peer)
            self.applications.append(Application(peer, response))

        self.network.listeners["127.0.0.1", 8000] = accept


class Application:
    """An application that reads with h11, strictly, and answers every request. ``requests`` is what it read."""

    def __init__(self, peer: Peer, response: bytes) -> None:
        self._peer = peer
        self._response = response
        self._parser = h11.Connection(h11.SERVER)
        self._request: Any = None
        self._body = b""
        self.raw = b""
        """Every byte that came."""
        self.requests: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]] = []
        """Method, target, headers (names in lower case) and body of every complete request."""
        self.error: Exception | None = None
        """What h11 said of something that was no request."""
        peer.network.talking.append((peer, self.hear))

    @property
    def amid(self) -> bool:
        """Whether a request has begun and not ended."""
        return self._request is not None

    def hear(self) -> None:
        """Something came."""
        data = bytes(self._peer.incoming)
        self._peer.incoming.clear()
        self.raw += data
        try:
            self._parser.receive_data(data)
            while (event := self._parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                self._take(event)
        except h11.RemoteProtocolError as error:
            self.error = error

    def _take(self, event: Any) -> None:
        if isinstance(event, h11.Request):
            self._request, self._body = event, b""
        elif isinstance(event, h11.Data):
            self._body += bytes(event.data)
        else:
            request, self._request = self._request, None
            self.requests.append((request.method, request.target, list(request.headers), self._body))
            left, _ = self._parser.trailing_data
            assert not left, f"bytes after a request: {left!r}"
            self._parser = h11.Connection(h11.SERVER)
            self._peer.outgoing += self._response


def ways(data: bytes) -> Iterator[list[bytes]]:
    """The data whole, in two pieces cut at every byte, and byte by byte."""
    yield [data]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]
    yield [data[at : at + 1] for at in range(len(data))]


@contextmanager
def proxy(
    *,
    limits: Limits = Limits(),  # noqa: B008
    timeouts: Timeouts = Timeouts(),  # noqa: B008
    trusted: Sequence[str] = (),
    routes: Routes = ((b"/", "127.0.0.1:8000", False),),
    backend: Backend = IMPATIENT,
) -> Iterator[Proxy]:
    """A data path for the length of a with-block. ``routes`` are (prefix, addresses, strip_prefix)."""
    made = Proxy(limits, timeouts, trusted, routes, backend)
    before = pool_module.connect_tcp, pool_module.connect_unix
    pool_module.connect_tcp = made.network.connect_tcp  # type: ignore[assignment]
    pool_module.connect_unix = made.network.connect_unix  # type: ignore[assignment]
    try:
        yield made
    finally:
        pool_module.connect_tcp, pool_module.connect_unix = before


def read_responses(data: bytes, methods: Sequence[bytes], closed: bool) -> list[tuple[int, list[Any], bytes, bool]]:
    """What a strict client, h11, makes of a stream: (status, headers, body, complete) of each answer to ``methods``."""
    return list(_read_responses(data, tuple(methods), closed))


@lru_cache(100)
def _read_responses(data: bytes, methods: tuple[bytes, ...], closed: bool) -> list[tuple[int, list[Any], bytes, bool]]:
    answers: list[tuple[int, list[Any], bytes, bool]] = []
    parser = h11.Connection(h11.CLIENT)
    for method in methods:
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        parser.send(h11.EndOfMessage())
        if not answers:
            parser.receive_data(data)
            if closed:
                parser.receive_data(b"")
        answer = _read_response(parser.next_event)
        if answer is None:
            break
        answers.append(answer)
        if parser.their_state is not h11.DONE or parser.our_state is not h11.DONE:
            break
        parser.start_next_cycle()
    return answers


def _read_response(next_event: Callable[[], Any]) -> tuple[int, list[Any], bytes, bool] | None:
    head: Any = None
    body = b""
    while True:
        try:
            event = next_event()
        except h11.RemoteProtocolError:
            return (head.status_code, list(head.headers), body, False) if head else None
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return head.status_code, list(head.headers), body, True
        elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return (head.status_code, list(head.headers), body, False) if head else None
