"""What serves clients, put together: everything between the listeners and the applications, and how it changes.

``app`` has one beside what obtains certificates; every worker process has one and little else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from attrs import frozen
from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from appliance.acme.challenges import PendingChallenges
from appliance.config import Configuration, Limits, Listen
from appliance.files.target import FileTargets
from appliance.http.errorpages import ErrorPages
from appliance.http.serving import Handler
from appliance.net.admission import Admission, default_connections, default_per_client, possible_connections
from appliance.net.announced import Announcing
from appliance.net.deadlines import Deadlines
from appliance.net.draining import Draining
from appliance.net.entrances import Entrance
from appliance.net.listener import ClientFactory, Listener
from appliance.net.sharing import AGAIN_SECONDS
from appliance.net.turn import Turn
from appliance.ops.watching import Watch
from appliance.process import descriptors
from appliance.process.inheritance import Inheritance
from appliance.proxy.applications import Applications
from appliance.proxy.applications import Prepared as PreparedApplications
from appliance.proxy.assembly import Assembly
from appliance.proxy.handler import ProxyHandler, RedirectHandler
from appliance.proxy.routing import RouteTable
from appliance.proxy.trust import TrustedProxies
from appliance.store import Defer
from appliance.tls.context import HTTP_1_1, HTTP_2
from appliance.tls.endpoint import PlainListening, TlsListening
from appliance.tls.snimap import SniMap, served_certificate

_TICKET_KEY_SECONDS = 24 * 3600.0

_TCP_PORT = re.compile(r"(?:tcp6?|ssl):(?:port=)?([0-9]+)")

_log = Logger()


@frozen(eq=False)
class Prepared:
    """What was made for a configuration, and is not in place yet."""

    applications: PreparedApplications
    http: Sequence[Listener]
    https: Sequence[Listener]


class DataPlane:
    """The one owner of these parts. Whoever has it starts its ``services``, in their order, and stops them."""

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        defer: Defer,
        now: Callable[[], datetime],
        certificates: SniMap,
        challenges: PendingChallenges,
        when_ready: Callable[[], Deferred[None]],
        inherited: Inheritance | None = None,
    ) -> None:
        """``when_ready`` and ``inherited`` as for `Listener`; ``challenges`` are answered before all else.

        Raises ApplianceError for what the configuration could not know.
        """
        listen, limits, timeouts = configuration.listen, configuration.limits, configuration.timeouts
        self.certificates = certificates
        self.watch = Watch(reactor, configuration, defer, now, inherited)
        self.deadlines = Deadlines(reactor)
        self.proxies = TrustedProxies(networks(configuration.trusted_proxies))
        self.admission = Admission(reactor.seconds, *bounds(limits), self.proxies.networks)
        self.applications = Applications(reactor, self.deadlines, timeouts, identify=self.watch.identify)
        self.applications.apply(self.applications.prepare(configuration.sites), timeouts)
        self.handler = ProxyHandler(RouteTable({}), challenges, served_certificate, self.proxies, self.watch.request_id)
        files = FileTargets(Turn(reactor), defer, lambda: now().timestamp(), reactor.seconds)
        self.assembly = Assembly(self.handler, self.proxies, reactor.seconds, defer, files)
        self.assembly.serve(configuration.sites, self.applications.upstreams)
        self.redirect = RedirectHandler(challenges, https_port(listen.https))
        self._use_error_pages(configuration)
        announcers = networks(listen.proxy_protocol_from)
        self._announcing = Announcing(announcers, self.deadlines, timeouts.header) if announcers else None

        def entrance(listening: Any, endpoints: Sequence[str], handler: Handler, scheme: bytes) -> Entrance:
            factory = ClientFactory(
                handler, self.deadlines, self.admission, limits, timeouts, scheme, self.watch.observer, Turn(reactor)
            )
            factory.apply(limits, timeouts, self.watch.observer, listen.http2)
            made = Entrance(listening, factory, when_ready, inherited, configuration.workers > 1)
            made.apply(made.prepare(endpoints))
            return made

        plain, tls = PlainListening(reactor, self._announcing), TlsListening(reactor, certificates, self._announcing)
        self.http = entrance(plain, listen.http, self.redirect, b"http")
        self.https = entrance(tls, listen.https, self.handler, b"https")
        self.draining = Draining(reactor, [self.http.clients, self.https.clients])

        def every(seconds: float, do: Callable[[], None]) -> TimerService:
            made = TimerService(seconds, do)
            made.clock = reactor
            return made

        timers = [every(_TICKET_KEY_SECONDS, certificates.rotate_ticket_keys)]
        if configuration.workers > 1:
            timers.append(every(AGAIN_SECONDS, self._queue_again))
        self.services: Sequence[Any] = (self.watch, self.deadlines, self.http, self.https, *timers, self.applications)

    def prepare(self, wanted: Configuration) -> Prepared:
        """Make what is new, and open new listeners: all of it, or nothing. Changes nothing. Raises ApplianceError."""
        applications = self.applications.prepare(wanted.sites)
        http = self.http.prepare(wanted.listen.http)
        try:
            https = self.https.prepare(wanted.listen.https)
            try:
                self.watch.prepare(wanted)
            except Exception:
                self.https.discard(https)
                raise
        except Exception:
            self.http.discard(http)
            raise
        return Prepared(applications, http, https)

    def apply(self, before: Configuration, wanted: Configuration, prepared: Prepared) -> None:
        """Put it in place of what was made for ``before``."""
        self.applications.apply(prepared.applications, wanted.timeouts)
        self.assembly.serve(wanted.sites, self.applications.upstreams)
        self.watch.apply(wanted)
        self._use_networks(wanted)
        self.redirect.https_port = https_port(wanted.listen.https)
        self.handler.request_id = self.watch.request_id
        self._use_error_pages(wanted)
        if before.listen.http2 != wanted.listen.http2:
            self.certificates.offer(protocols(wanted.listen))
        for entrance, listeners in ((self.http, prepared.http), (self.https, prepared.https)):
            entrance.clients.apply(wanted.limits, wanted.timeouts, self.watch.observer, wanted.listen.http2)
            entrance.apply(listeners)

    def _queue_again(self) -> None:
        self.http.queue_again()
        self.https.queue_again()

    def _use_error_pages(self, wanted: Configuration) -> None:
        self.handler.errors = self.redirect.errors = ErrorPages(wanted.error_pages, self.watch.identify)

    def _use_networks(self, wanted: Configuration) -> None:
        trusted = networks(wanted.trusted_proxies)
        self.proxies.networks = trusted
        self.admission.apply(*bounds(wanted.limits), trusted)
        if self._announcing is not None:
            self._announcing.apply(networks(wanted.listen.proxy_protocol_from), wanted.timeouts.header)


def networks(texts: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks in CIDR notation."""
    return tuple(ip_network(network) for network in texts)


def protocols(listen: Listen) -> tuple[bytes, ...]:
    """What is offered by ALPN, the best first."""
    return (HTTP_2, HTTP_1_1) if listen.http2 else (HTTP_1_1,)


def bounds(limits: Limits, descriptors_allowed: Callable[[], int] = descriptors.limit) -> tuple[int, int]:
    """How many connections there may be from all clients, and from each."""
    allowed = descriptors_allowed()
    connections = limits.connections or default_connections(allowed)
    possible = possible_connections(connections, allowed)
    if possible < connections:
        _log.warn(
            "limits.connections = {connections} needs more file descriptors than the {allowed} that the system allows"
            " (LimitNOFILE= of systemd, ulimit -n): {possible} it is",
            connections=connections,
            allowed=allowed,
            possible=possible,
        )
    return possible, limits.connections_per_client or default_per_client(possible)


def https_port(endpoints: Sequence[str]) -> int:
    """The port that redirects name: the first HTTPS listener's, 443 where its endpoint string does not tell."""
    for endpoint in endpoints:
        match = _TCP_PORT.match(endpoint)
        if match is not None:
            return int(match[1])
    return 443
