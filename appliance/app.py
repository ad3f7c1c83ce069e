"""Configuration to services: the only place where the parts meet.

The two paths share two objects, the table of pending challenges and the SNI map::

    clients ── Listener ── ServerConnection ── ProxyHandler ── Exchange ── Upstream ── application
                                  │                 │
                         PendingChallenges       SniMap
                                  │                 │
    the CA ─── Issuer ────── RenewalService ── CertificateStore
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from txacme.interfaces import ICertificateStore, IResponder  # type: ignore[import-untyped]

from appliance.acme.challenges import PendingChallenges
from appliance.acme.issuers import Authorities, Issuers
from appliance.acme.lookup import Lookup, own_addresses
from appliance.acme.renewal import RenewalService
from appliance.acme.tlsalpn import TlsAlpnChallenges
from appliance.admission import Admission
from appliance.announced import Announcing
from appliance.applications import Applications
from appliance.clock import utc_now
from appliance.config import Configuration
from appliance.configured import Configured, Parts, bounds, https_port, networks, protocols
from appliance.deadlines import Deadlines
from appliance.draining import Draining
from appliance.entrances import Entrance
from appliance.files.target import FileTargets
from appliance.http.errorpages import ErrorPages
from appliance.http.serving import Handler
from appliance.listener import ClientFactory, Listener
from appliance.ops.afterswap import Installer
from appliance.ops.maintenance import Maintenance
from appliance.ops.operating import Operating
from appliance.ops.reloading import Reloading, Source
from appliance.ops.watching import Watch
from appliance.proxy.assembly import Assembly
from appliance.proxy.handler import ProxyHandler, RedirectHandler
from appliance.proxy.routing import RouteTable
from appliance.proxy.trust import TrustedProxies
from appliance.store import CertificateStore, Defer
from appliance.tls.context import check_loads
from appliance.tls.endpoint import PlainListening, TlsListening
from appliance.tls.snimap import SniMap, served_certificate
from appliance.turn import Turn

_log = Logger()

_TICKET_KEY_SECONDS = 24 * 3600.0


class Appliance(MultiService):
    """The whole service. Its parts are there to be looked at, by the status commands and by tests."""

    def __init__(
        self,
        certificates: SniMap,
        handler: ProxyHandler,
        admission: Admission,
        renewal: RenewalService,
        http: Entrance,
        https: Entrance,
        operating: Operating,
        watch: Watch,
        draining: Draining,
        configured: Configured,
        reloading: Reloading,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.certificates = certificates
        self.handler = handler
        self.admission = admission
        self.renewal = renewal
        self.entrances = (http, https)
        self.operating = operating
        self.watch = watch
        self.draining = draining
        self.configured = configured
        self.reloading = reloading

    @property
    def http(self) -> tuple[Listener, ...]:
        """The plain listeners."""
        return self.entrances[0].listeners

    @property
    def https(self) -> tuple[Listener, ...]:
        """The TLS listeners."""
        return self.entrances[1].listeners

    def stopService(self) -> Deferred[None]:
        """Accept nobody any more, then let requests in flight end; whatever those need is stopped after them."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        ending = _all([self.operating, self.renewal])
        await _all(self.entrances)
        await self.draining.drain(self.configured.current.drain_timeout)
        await ending
        await maybeDeferred(super().stopService)


def _all(parts: Sequence[Any]) -> Deferred[Any]:
    """Stop these parts of a running service; fire when all have stopped, however that went."""
    return DeferredList([maybeDeferred(part.disownServiceParent) for part in parts], consumeErrors=True)


def build(
    reactor: Any,
    configuration: Configuration,
    *,
    store: ICertificateStore | None = None,
    responders: Sequence[IResponder] = (),
    source: Source | str = "without one",
    now: Callable[[], datetime] = utc_now,
) -> Appliance:
    """The service of a configuration, not started yet. ``reactor.seconds`` must be monotonic (`clock.make_monotonic`).

    ``store`` replaces the folder of certificates; ``responders`` are asked before the appliance's own.
    ``source`` is what is read anew, or how it was started where there is no file.
    Raises ApplianceError for what the configuration could not know.
    """

    def defer(work: Callable[[], Any], /) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    watch = Watch(reactor, configuration, defer, now)
    deadlines = Deadlines(reactor)
    challenges = PendingChallenges()
    tls_challenges = TlsAlpnChallenges(now)
    certificates = SniMap(tls_challenges, protocols=protocols(configuration.listen))
    proxies = TrustedProxies(networks(configuration.trusted_proxies))
    admission = Admission(reactor.seconds, *bounds(configuration.limits), proxies.networks)
    applications = Applications(reactor, deadlines, configuration.timeouts, identify=watch.identify)
    applications.apply(applications.prepare(configuration.sites), configuration.timeouts)
    handler = ProxyHandler(RouteTable({}), challenges, served_certificate, proxies, watch.request_id)
    files = FileTargets(Turn(reactor), defer, lambda: now().timestamp(), reactor.seconds)
    assembly = Assembly(handler, proxies, reactor.seconds, defer, files)
    assembly.serve(configuration.sites, applications.upstreams)
    maintenance = Maintenance(assembly, configuration.state_dir, defer)
    maintenance.load()
    store = store or CertificateStore(configuration.state_dir / "certificates", defer, now=now)
    operating = Operating(reactor, configuration, now, certificates, challenges, store, defer)
    issuers = Issuers(reactor, configuration.state_dir, [*responders, challenges, tls_challenges], now, defer)
    authorities = issuers.prepare(configuration)
    issuers.apply(authorities)
    renewal = _renewal(reactor, configuration, operating.installer, authorities, store, defer, now)
    redirect = RedirectHandler(challenges, https_port(configuration.listen.https))
    handler.errors = redirect.errors = ErrorPages(configuration.error_pages, watch.identify)

    def entrance(listening: Any, endpoints: Sequence[str], handler: Handler, scheme: bytes) -> Entrance:
        limits, timeouts = configuration.limits, configuration.timeouts
        factory = ClientFactory(handler, deadlines, admission, limits, timeouts, scheme, watch.observer, Turn(reactor))
        factory.apply(limits, timeouts, watch.observer, configuration.listen.http2)
        watch.add_clients(scheme.decode("ascii"), factory)
        made = Entrance(listening, factory, renewal.when_loaded)
        made.apply(made.prepare(endpoints))
        return made

    announcing = _announcing(configuration, deadlines)
    http = entrance(PlainListening(reactor, announcing), configuration.listen.http, redirect, b"http")
    https = entrance(TlsListening(reactor, certificates, announcing), configuration.listen.https, handler, b"https")
    operating.attach(
        renewal,
        issuers,
        lambda: http.listeners,
        lambda: https.listeners,
        lambda: applications.upstreams,
        watch.traffic,
        maintenance,
    )
    watch.attach(cast(Any, renewal), lambda: applications.upstreams.values(), lambda: admission.refused)
    parts = Parts(
        admission=admission,
        announcing=announcing,
        applications=applications,
        assembly=assembly,
        certificates=certificates,
        handler=handler,
        http=http,
        https=https,
        issuers=issuers,
        operating=operating,
        proxies=proxies,
        redirect=redirect,
        renewal=renewal,
        watch=watch,
    )
    configured = Configured(configuration, parts)
    reloading = Reloading(source, configured.change, now, defer, watch.reloaded)
    operating.reload_by(reloading)
    watch.add_status_page(operating.commands)
    draining = Draining(reactor, [http.clients, https.clients])
    appliance = Appliance(
        certificates,
        handler,
        admission,
        renewal,
        http,
        https,
        operating,
        watch,
        draining,
        configured,
        reloading,
    )
    rotation = TimerService(_TICKET_KEY_SECONDS, certificates.rotate_ticket_keys)
    rotation.clock = reactor
    services: list[Any] = [watch, deadlines, http, https, renewal, rotation, applications, issuers]
    for part in services:
        part.setServiceParent(appliance)
    operating.setServiceParent(appliance)  # type: ignore[no-untyped-call]
    return appliance


def _renewal(
    reactor: Any,
    configuration: Configuration,
    installer: Installer,
    authorities: Authorities,
    store: ICertificateStore,
    defer: Defer,
    now: Callable[[], datetime],
) -> RenewalService:
    acme = configuration.acme
    return RenewalService(
        reactor,
        now,
        store,
        authorities.issuers,
        installer.install,
        configuration.sites,
        configuration.state_dir / "renewal",
        defer,
        withdraw=installer.remove,
        verify=check_loads,
        rehearsal=authorities.rehearsal,
        key_type=acme.key_type,
        look=Lookup(reactor),
        own_addresses=own_addresses,
        orders_at_once=acme.max_orders,
    )


def _announcing(configuration: Configuration, deadlines: Deadlines) -> Announcing | None:
    announcers = networks(configuration.listen.proxy_protocol_from)
    return Announcing(announcers, deadlines, configuration.timeouts.header) if announcers else None
