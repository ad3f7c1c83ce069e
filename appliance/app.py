"""Configuration to services: the only place where the parts meet.

The two paths share two objects, the table of pending challenges and the SNI map::

    clients ── Listener ── ServerConnection ── ProxyHandler ── Exchange ── Upstream ── application
                                  │                 │
                         PendingChallenges       SniMap
                                  │                 │
    the CA ─── Issuer ────── RenewalService ── CertificateStore
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
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
from appliance.difference import Difference
from appliance.draining import Draining
from appliance.entrances import Entrance
from appliance.errors import ApplianceError, StoreError
from appliance.files.target import FileTargets
from appliance.http.errorpages import ErrorPages
from appliance.http.serving import Handler
from appliance.inheritance import Inheritance
from appliance.listener import ClientFactory, Listener
from appliance.ops.afterswap import Installer
from appliance.ops.control import Command
from appliance.ops.maintenance import Maintenance
from appliance.ops.operating import Operating
from appliance.ops.reloading import Reloading, Source
from appliance.ops.systemd import Manager, Supervised, status_line
from appliance.ops.watching import Watch
from appliance.proxy.assembly import Assembly
from appliance.proxy.handler import ProxyHandler, RedirectHandler
from appliance.proxy.routing import RouteTable
from appliance.proxy.trust import TrustedProxies
from appliance.statelock import StateLock
from appliance.store import CertificateStore, Defer
from appliance.tls.context import check_loads
from appliance.tls.endpoint import PlainListening, TlsListening
from appliance.tls.snimap import SniMap, served_certificate
from appliance.turn import Turn
from appliance.upgrade import Upgrading

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
        lock: StateLock,
        supervised: Supervised,
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
        self.lock = lock
        self.supervised = supervised
        self.upgrading: Upgrading | None = None

    @property
    def http(self) -> tuple[Listener, ...]:
        """The plain listeners."""
        return self.entrances[0].listeners

    @property
    def https(self) -> tuple[Listener, ...]:
        """The TLS listeners."""
        return self.entrances[1].listeners

    async def reload(self) -> object:
        """As the command does."""
        return await cast(Any, self.operating.commands["reload"].call({}))

    # --- to be replaced by another process, see `upgrade` and `succession` ---

    async def when_serving(self) -> None:
        """Return once clients are accepted. Raises ApplianceError if certificates could not be read."""
        await self.renewal.when_loaded()
        if self.configured.current.sites and not self.renewal.report():
            raise ApplianceError("the certificate store cannot be read: see the log")

    def sockets(self) -> dict[str, int]:
        """All listening sockets, by endpoint."""
        inner = self.watch.listener.sockets() if self.watch.listener is not None else {}
        return {**inner, **self.entrances[0].sockets(), **self.entrances[1].sockets()}

    async def hand_over(self) -> None:
        """Stop what only one process may do, in good order."""
        self.operating.hand_over()
        if self.watch.listener is not None:
            self.watch.listener.pause()
        await _all([self.renewal])
        await _all([self.lock])

    def take_back(self) -> None:
        """Nobody else does it: do it again."""
        try:
            self.lock.setServiceParent(self)  # type: ignore[no-untyped-call]
        except StoreError as error:  # better than to let certificates expire
            _log.error("renewing without the lock: {error}", error=error)
        self.renewal.setServiceParent(self)  # type: ignore[no-untyped-call]
        if self.watch.listener is not None:
            self.watch.listener.resume()
        self.operating.take_back()

    def begin(self) -> None:
        """The service is this process's: others may replace it now."""
        assert self.upgrading is not None
        self.upgrading.allow()
        self.supervised.ready()

    async def leave(self, successor: int) -> None:
        """Accept nobody any more; another process does."""
        self.supervised.replaced(successor)
        if self.watch.listener is not None:
            self.watch.listener.leave()
            await maybeDeferred(self.watch.listener.stopService)
        if self.operating.control is not None:
            await self.operating.control.leave()
        for entrance in self.entrances:
            entrance.leave()
        await _all(self.entrances)

    async def retire(self) -> None:
        """Return when the last client has gone by itself, or has had its time."""
        await self.draining.retire(self.configured.current.upgrade_timeout)

    def stopService(self) -> Deferred[None]:
        """Accept nobody any more, then let requests in flight end; whatever those need is stopped after them."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self.upgrading is not None:
            self.upgrading.give_up()
        self.supervised.stopping()
        ending = _all([self.operating, self.renewal])
        await _all(self.entrances)
        await self.draining.drain(self.configured.current.drain_timeout)
        await ending
        await maybeDeferred(super().stopService)


def _all(parts: Sequence[Any]) -> Deferred[Any]:
    """Stop these parts of a running service; fire when all have stopped, however that went."""
    running = [part for part in parts if part.parent is not None]
    return DeferredList([maybeDeferred(part.disownServiceParent) for part in running], consumeErrors=True)


def build(
    reactor: Any,
    configuration: Configuration,
    *,
    store: ICertificateStore | None = None,
    responders: Sequence[IResponder] = (),
    source: Source | str = "without one",
    now: Callable[[], datetime] = utc_now,
    inherited: Inheritance | None = None,
    manager: Manager | None = None,
) -> Appliance:
    """The service of a configuration, not started yet. ``reactor.seconds`` must be monotonic (`clock.make_monotonic`).

    ``store`` replaces the folder of certificates; ``responders`` are asked before the appliance's own.
    ``source`` is what is read anew, or how it was started where there is no file. ``inherited`` has listening sockets
    that another process left to this one; ``manager`` is told how it goes.
    Raises ApplianceError for what the configuration could not know.
    """

    def defer(work: Callable[[], Any], /) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    watch = Watch(reactor, configuration, defer, now, inherited)
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
        made = Entrance(listening, factory, renewal.when_loaded, inherited)
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
    draining = Draining(reactor, [http.clients, https.clients])
    supervised = Supervised(
        reactor, manager, lambda: status_line(renewal.report(), draining.left, bool(configured.current.sites))
    )
    reloading = Reloading(source, _telling(supervised, configured.change), now, defer, watch.reloaded)
    operating.reload_by(reloading)
    watch.add_status_page(operating.commands)
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
        StateLock(configuration.state_dir),
        supervised,
    )
    appliance.upgrading = Upgrading(reactor, appliance, defer, manager.environment() if manager is not None else {})
    operating.commands["upgrade"] = Command(appliance.upgrading.command)
    rotation = TimerService(_TICKET_KEY_SECONDS, certificates.rotate_ticket_keys)
    rotation.clock = reactor
    services: list[Any] = [
        appliance.lock,
        supervised,
        watch,
        deadlines,
        http,
        https,
        renewal,
        rotation,
        applications,
        issuers,
    ]
    for part in services:
        part.setServiceParent(appliance)
    operating.setServiceParent(appliance)  # type: ignore[no-untyped-call]
    return appliance


def _telling(
    supervised: Supervised, change: Callable[[Configuration], Awaitable[Difference]]
) -> Callable[[Configuration], Awaitable[Difference]]:
    """Have the service manager know of changes while they are made."""

    async def change_and_tell(configuration: Configuration) -> Difference:
        supervised.reloading()
        try:
            return await change(configuration)
        finally:
            supervised.ready()

    return change_and_tell


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
