"""Configuration to services: the only place where the parts meet.

The two paths share two objects, the table of pending challenges and the SNI map::

    clients ── Listener ── ServerConnection ── ProxyHandler ── Exchange ── Upstream ── application
                                  │                 │
                         PendingChallenges       SniMap
                                  │                 │
    the CA ─── Issuer ────── RenewalService ── CertificateStore
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, cast

from attrs import frozen
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
from appliance.clock import utc_now
from appliance.config import Configuration
from appliance.config.difference import Difference
from appliance.configured import Configured, Parts
from appliance.dataplane import DataPlane, protocols
from appliance.errors import ApplianceError, StoreError
from appliance.net.listener import Listener
from appliance.ops.control.server import Command
from appliance.ops.deploy.afterswap import Installer
from appliance.ops.operating import Operating
from appliance.ops.service.maintenance import Maintenance
from appliance.ops.service.reloading import Reloading, Source
from appliance.process.inheritance import Inheritance
from appliance.process.statelock import StateLock
from appliance.process.systemd import Manager, Supervised, status_line
from appliance.process.upgrade import Upgrading
from appliance.store import CertificateStore, Defer
from appliance.tls.context import check_loads
from appliance.workers.crew import AllClients, Crew, Setting
from appliance.workers.messages import Message, ReopenLogs
from appliance.workers.shared import (
    Presented,
    SharedCertificates,
    SharedMaintenance,
    SharedResponder,
)

_log = Logger()

_ORDERS_END = 30.0
"""Seconds that an upgrade waits for orders under way; those that take longer are gone on with by the new process."""


class Appliance(MultiService):
    """The whole service. Its parts are there to be looked at, by the status commands and by tests."""

    def __init__(
        self,
        plane: DataPlane,
        renewal: RenewalService,
        operating: Operating,
        configured: Configured,
        reloading: Reloading,
        lock: StateLock,
        supervised: Supervised,
        crew: Crew,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.certificates = plane.certificates
        self.handler = plane.handler
        self.admission = plane.admission
        self.watch = plane.watch
        self.draining = plane.draining
        self.entrances = (plane.http, plane.https)
        self.renewal = renewal
        self.operating = operating
        self.configured = configured
        self.reloading = reloading
        self.lock = lock
        self.supervised = supervised
        self.crew = crew
        self.upgrading: Upgrading | None = None

    @property
    def http(self) -> tuple[Listener, ...]:
        """The plain listeners."""
        return self.entrances[0].listeners

    @property
    def https(self) -> tuple[Listener, ...]:
        """The TLS listeners."""
        return self.entrances[1].listeners

    def hurry(self) -> None:
        """Cut off what stopping waits for."""
        self.crew.hurry()
        self.draining.hurry()

    def reopen_logs(self) -> None:
        """Log files were moved away: go on in new ones."""
        self.watch.reopen_logs()
        self.crew.tell(ReopenLogs)

    async def reload(self) -> object:
        """As the command does."""
        return await cast(Any, self.operating.commands["reload"].call({}))

    # --- to be replaced by another process, see `process.upgrade` and `process.succession` ---

    async def when_serving(self) -> None:
        """Return once clients are accepted. Raises ApplianceError if certificates could not be read."""
        await self.renewal.when_loaded()
        if self.configured.current.sites and not self.renewal.report():
            raise ApplianceError("the certificate store cannot be read: see the log")

    def sockets(self) -> dict[str, int]:
        """All listening sockets, by endpoint."""
        inner = self.watch.listener.sockets() if self.watch.listener is not None else {}
        return {**inner, **self.entrances[0].sockets(), **self.entrances[1].sockets()}

    async def hold(self) -> None:
        """Change nothing more that the other process is to read, or is not told of."""
        await self.operating.hold()

    def release(self) -> None:
        """Nobody else has read it: go on."""
        self.operating.release()

    async def hand_over(self) -> None:
        """Stop what only one process may do, in good order.

        A CA that is about to validate would meet either process, of which only this one knows the challenge: it waits.
        """
        await self.renewal.settle(_ORDERS_END)
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
        """The service is this process's: others may serve beside it now, and replace it."""
        assert self.upgrading is not None
        self.crew.begin()
        self.upgrading.allow()
        self.supervised.ready()

    async def leave(self, successor: int) -> None:
        """Accept nobody any more; another process does."""
        self.supervised.replaced(successor)
        if self.watch.listener is not None:
            self.watch.listener.leave()
            await maybeDeferred(self.watch.listener.stopService)
        await self.operating.leave(successor)
        await self.crew.leave()
        for entrance in self.entrances:
            entrance.leave()
        await _all(self.entrances)

    async def retire(self) -> None:
        """Return when the last client has gone by itself, or has had its time."""
        patience = self.configured.current.upgrade_timeout
        workers = Deferred.fromCoroutine(self.crew.retire(patience))
        await self.draining.retire(patience)
        await workers

    def stopService(self) -> Deferred[None]:
        """Accept nobody any more, then let requests in flight end; whatever those need is stopped after them."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.supervised.stopping()
        assert self.upgrading is not None
        giving_up = Deferred.fromCoroutine(self.upgrading.give_up())
        ending = _all([self.operating, self.renewal])
        patience = self.configured.current.drain_timeout
        await self.crew.leave()
        await _all(self.entrances)
        workers = Deferred.fromCoroutine(self.crew.drain(patience))
        await self.draining.drain(patience)
        await workers
        await ending
        await giving_up
        await maybeDeferred(super().stopService)


def _all(parts: Sequence[Any]) -> Deferred[Any]:
    """Stop these parts of a running service; fire when all have stopped, however that went."""
    running = [part for part in parts if part.running]
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
    workers: Setting | None = None,
) -> Appliance:
    """The service of a configuration, not started yet. ``reactor.seconds`` must be monotonic (`clock.make_monotonic`).

    ``store`` replaces the folder of certificates; ``responders`` are asked before the appliance's own.
    ``source`` is what is read anew, or how it was started where there is no file. ``inherited`` has listening sockets
    that another process left to this one; ``manager`` is told how it goes; ``workers`` says how such are started, and
    there are none without it.
    Raises ApplianceError for what the configuration could not know.
    """

    def defer(work: Callable[[], Any], /) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    crew = Crew(reactor, configuration.workers - 1, workers)
    presented = Presented(crew.tell)
    challenges, tls_challenges = PendingChallenges(), TlsAlpnChallenges(now)
    http_01, tls_alpn_01 = (SharedResponder(own, presented) for own in (challenges, tls_challenges))
    certificates = SharedCertificates(crew.tell, tls_challenges, protocols(configuration.listen))
    plane = DataPlane(
        reactor,
        configuration,
        defer,
        now,
        certificates,
        challenges,
        lambda: renewal.when_loaded(),
        inherited,
    )
    watch, applications = plane.watch, plane.applications
    maintenance = Maintenance(SharedMaintenance(plane.assembly, crew.tell), configuration.state_dir, defer)
    maintenance.load()
    store = store or CertificateStore(configuration.state_dir / "certificates", defer, now=now)
    operating = Operating(reactor, configuration, now, certificates, http_01, store, defer, crew.in_step)
    issuers = Issuers(reactor, configuration.state_dir, [*responders, http_01, tls_alpn_01], now, defer)
    authorities = issuers.prepare(configuration)
    issuers.apply(authorities)
    renewal = _renewal(reactor, configuration, operating.installer, authorities, store, defer, now)
    operating.attach(
        renewal,
        issuers,
        lambda: plane.http.listeners,
        lambda: plane.https.listeners,
        lambda: applications.upstreams,
        watch.traffic,
        maintenance,
        crew.document,
    )
    for name, entrance in (("http", plane.http), ("https", plane.https)):
        watch.add_clients(name, AllClients(crew, name, entrance.clients))
    watch.attach(
        cast(Any, renewal), lambda: applications.upstreams.values(), lambda: plane.admission.refused + crew.refused
    )
    watch.add_processes(crew)
    configured = Configured(configuration, Parts(plane, issuers, operating, renewal, crew))
    crew.attach(_Shared(configured, plane, maintenance, presented, certificates), watch.counts)
    supervised = Supervised(
        reactor,
        manager,
        lambda: status_line(
            renewal.report(),
            plane.draining.left + crew.connections("http") + crew.connections("https"),
            bool(configured.current.sites),
        ),
    )
    reloading = Reloading(source, _telling(supervised, configured.change), now, defer, watch.reloaded)
    operating.reload_by(reloading)
    watch.add_status_page(operating.commands)
    lock = StateLock(configuration.state_dir)
    appliance = Appliance(plane, renewal, operating, configured, reloading, lock, supervised, crew)
    appliance.upgrading = Upgrading(reactor, appliance, defer, manager.environment() if manager is not None else {})
    operating.commands["upgrade"] = Command(appliance.upgrading.command)
    for part in (lock, supervised, *plane.services, renewal, issuers, crew):
        part.setServiceParent(appliance)
    operating.setServiceParent(appliance)  # type: ignore[no-untyped-call]
    return appliance


@frozen
class _Shared:
    """What every worker is to know: `workers.crew.Shared`."""

    _configured: Configured
    _plane: DataPlane
    _maintenance: Maintenance
    _presented: Presented
    _certificates: SharedCertificates

    @property
    def configuration(self) -> Configuration:
        return self._configured.current

    @property
    def closed(self) -> frozenset[str]:
        return self._maintenance.closed

    def sockets(self) -> dict[str, int]:
        return {**self._plane.http.sockets(), **self._plane.https.sockets()}

    def challenges(self) -> Iterable[Message]:
        return self._presented.all()

    def certificates(self) -> Iterator[Message]:
        return self._certificates.all()


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
