"""The renewal service: serves what is stored, obtains what is missing, renews what is due; each site by itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from txacme.interfaces import ICertificateStore  # type: ignore[import-untyped]

from appliance.acme.decision import Stock, choose
from appliance.acme.environment import Environment, Install, Issuing, Look
from appliance.acme.keys import DEFAULT
from appliance.acme.pace import Pace
from appliance.acme.siterenewal import FAULT_PAUSE, SiteRenewal
from appliance.acme.sitereport import SiteReport
from appliance.acme.spending import Spending
from appliance.acme.state import RenewalState, StateFolder
from appliance.acme.succession import certified_as, inherit
from appliance.acme.turns import Turns
from appliance.config import Site
from appliance.errors import ApplianceError, StoreError
from appliance.store import Defer
from appliance.tls.certificate import Certificate

ORDERS_AT_ONCE = 8
ASKS_AT_ONCE = 20
ASK_INTERVAL = timedelta(seconds=0.25)
"""Between two sites' first questions to their CA, beyond those: a question costs milliseconds, ours and the CA's."""

ORDER_TIMEOUT = 900.0
LONGEST_SLEEP = 3600.0

LOAD_TIMEOUT = 60.0
"""Seconds that one look into the store may take; a store may be far away."""

MANY_SITES = 200
"""Beyond these the log is not told of every stored certificate that is in service again."""

STOP_TIMEOUT = 10.0
"""Seconds that stopping waits for orders to be given up in good order."""

Stored = Sequence[Certificate]
"""What is in the store."""

_LOAD_AGAIN_FIRST, _LOAD_AGAIN_LONGEST = 10.0, 600.0


class RenewalService(Service):
    """
    Keeps a certificate in service for every site, for as long as it runs.

    What is stored is served first, whatever the CA does. An expired certificate is not put into service, but one that
    expires in service stays: clients whose clocks are right are no worse off, and the others are better off. While the
    store cannot be read, nothing is ordered: what it holds may be all that is needed, and the CA counts.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], datetime],
        store: ICertificateStore,
        issuers: Sequence[Issuing],
        install: Install,
        sites: Sequence[Site],
        state_folder: Path,
        defer: Defer,
        *,
        withdraw: Callable[[str], None] = lambda site: None,
        verify: Callable[[Certificate], object] = lambda certificate: None,
        rehearsal: Issuing | None = None,
        key_type: str = DEFAULT,
        look: Look | None = None,
        own_addresses: Callable[[], frozenset[str]] = frozenset,
        chance: Callable[[], float] = random.random,
        orders_at_once: int = ORDERS_AT_ONCE,
        order_timeout: float = ORDER_TIMEOUT,
        longest_sleep: float = LONGEST_SLEEP,
    ) -> None:
        """
        Parameters as in ``siterenewal.Environment``.

        ``issuers`` in order of preference; ``install(site name, names, certificate)`` is ``SniMap.swap``, and
        ``withdraw(site name)`` undoes it; ``state_folder`` is ``state_dir/renewal``, beside which ``spending.json`` is
        kept.
        """
        self._sites = tuple(sites)
        self._renewals: tuple[SiteRenewal, ...] = ()
        self._loading: Deferred[None] | None = None
        self._begun = False
        self._waiting_for_load: list[Deferred[None]] | None = []
        self._env = Environment(
            clock=clock,
            now=now,
            store=store,
            states=StateFolder(state_folder),
            issuers={issuer.name: issuer for issuer in issuers},
            rehearsal=rehearsal,
            install=install,
            withdraw=withdraw,
            verify=verify,
            defer=defer,
            random=chance,
            turns=Turns(clock, orders_at_once),
            asking=Pace(now, ASKS_AT_ONCE, ASK_INTERVAL),
            spending=Spending(state_folder.parent / "spending.json", defer, now),
            key_type=key_type,
            look=look,
            own_addresses=own_addresses,
            order_timeout=order_timeout,
            longest_sleep=longest_sleep,
            many_sites=len(self._sites) > MANY_SITES,
            is_running=lambda: bool(self.running),
        )

    def startService(self) -> None:
        """Begin to load; the sites' loops follow. See ``when_loaded``."""
        super().startService()  # type: ignore[no-untyped-call]
        self._begun = False
        self._env.turns.open()
        self._loading = Deferred.fromCoroutine(self._start())

    async def settle(self, patience: float) -> None:
        """Begin no other order; return when those under way have ended, after ``patience`` seconds at the latest.

        To be stopped then: what an order has brought is still written and put into service.
        """
        settled = self._env.turns.close()
        await settled.addTimeout(patience, self._env.clock, onTimeoutCancel=lambda result, seconds: None)
        await deferLater(self._env.clock, 0)

    def stopService(self) -> Deferred[None]:
        """Cancel what waits, let writes end, give up orders; fire when that is done, or after ``STOP_TIMEOUT``."""
        super().stopService()  # type: ignore[no-untyped-call]
        stopping = [renewal.stop() for renewal in self._renewals]
        if self._loading is not None:
            self._loading.cancel()
            stopping.append(self._loading)
        return self._all_stopped(stopping)

    def when_loaded(self) -> Deferred[None]:
        """
        Fire when the store has been looked into for the first time, whatever came of it.

        What it holds is in service then: the moment to begin to listen, so that no handshake fails for being early.
        """
        loaded: Deferred[None] = Deferred()
        if self._waiting_for_load is None:
            loaded.callback(None)
        else:
            self._waiting_for_load.append(loaded)
        return loaded

    def report(self) -> tuple[SiteReport, ...]:
        """Where every site stands; empty until the store could be read."""
        return tuple(self.reports())

    def reports(self) -> Iterator[SiteReport]:
        """The same, one after the other, each made when it is asked for: for those who look at few at a time."""
        return (renewal.report() for renewal in self._renewals)

    async def renew(self, site: str, force: bool = False) -> SiteReport:
        """
        Try to renew the certificate of the site that has this name, see ``SiteRenewal.renew``; where it stands then.

        Raises ApplianceError if there is no such site, or if nothing is to be tried now.
        """
        renewal = self._find(site)
        tried = renewal.renew(force)
        if tried is None:
            step = renewal.report().next_step
            raise ApplianceError(f"{site}: nothing to do before {step.at:%Y-%m-%d %H:%M:%S} UTC: {step.reason}")
        await tried
        return renewal.report()

    async def rollback(self, site: str) -> SiteReport:
        """
        Go back to the previous certificate of the site that has this name, see ``SiteRenewal.roll_back``.

        Done twice, it goes forward again. Raises ApplianceError if there is no such site, or no certificate that would
        do.
        """
        renewal = self._find(site)
        previous = await self._load_previous(renewal.site.name)
        if previous is None:
            raise StoreError(f"{site}: there is no previous certificate to go back to")
        await renewal.roll_back(previous)
        return renewal.report()

    def _find(self, name: str) -> SiteRenewal:
        for renewal in self._renewals:
            if name in renewal.site.names:
                return renewal
        raise ApplianceError(f"{name} is no name of a site, or the certificate store has not been read yet")

    # Another configuration.

    def replace_authorities(
        self, issuers: Sequence[Issuing], rehearsal: Issuing | None, key_type: str, orders_at_once: int
    ) -> None:
        """Have other CAs, or ask other things of them. Orders under way end as they were begun.

        Sites whose orders have failed try again: that may be what was corrected.
        """
        env = self._env
        env.issuers = {issuer.name: issuer for issuer in issuers}
        env.rehearsal, env.key_type, env.turns = rehearsal, key_type, Turns(env.clock, orders_at_once)
        for renewal in self._renewals:
            renewal.reconsider()

    async def look(self, sites: Sequence[Site]) -> Stored:
        """What the store has for ``replace_sites`` with the same sites. Nothing is changed.

        Raises StoreError if it cannot be read and one of the sites needs it.
        """
        if not self._begun or not self._arriving(sites):
            return ()
        try:
            return await self._read_store()
        except Exception as error:
            raise StoreError(f"the certificate store cannot be read: {str(error) or repr(error)}") from error

    async def replace_sites(self, sites: Sequence[Site], stored: Stored) -> None:
        """
        Have other sites from now on; those whose names and settings stay do not notice.

        The orders of the others are given up. A site whose names have changed goes on with its certificate, for those
        names that it covers, and gets another.
        """
        self._sites = tuple(sites)
        if not self._begun:
            return  # whoever is loading the store will see it
        before = {renewal.site.name: renewal for renewal in self._renewals}
        arriving = {site.name: site for site in self._arriving(sites)}
        staying = {site.name: before[site.name] for site in sites if site.name not in arriving}
        leaving = [renewal for name, renewal in before.items() if name not in staying]
        await self._all_stopped([renewal.stop() for renewal in leaving])
        states = await self._load_states([site for name, site in arriving.items() if name not in before], clean=False)
        if not self.running:
            return
        stock = Stock([*stored, *(certificate for renewal in leaving for certificate in renewal.certificates)])
        made = {
            name: self._successor(site, before.get(name), states.get(name, RenewalState()), stock)
            for name, site in arriving.items()
        }
        self._renewals = tuple(staying.get(site.name) or made[site.name] for site in sites)
        for renewal in leaving:
            renewal.withdraw()
        for renewal in made.values():  # in the same turn: no handshake comes between
            renewal.start()

    def _arriving(self, sites: Sequence[Site]) -> list[Site]:
        """Those that are new, or no longer what they were."""
        before = {renewal.site.name: certified_as(renewal.site) for renewal in self._renewals}
        return [site for site in sites if before.get(site.name) != certified_as(site)]

    def _successor(self, site: Site, before: SiteRenewal | None, state: RenewalState, stock: Stock) -> SiteRenewal:
        own = before.certificates if before is not None else ()
        best, older = inherit(site.names, own, stock, self._env.now())
        renewal = SiteRenewal(site, self._env, state if before is None else before.state.restart(), best, older)
        if before is not None:
            renewal.reconsider()
        return renewal

    # The beginning.

    async def _start(self) -> None:
        while self.running:
            try:
                await self._begin()
                return
            except Exception:
                if self.running:
                    self._log.failure(
                        "unexpected error before the first renewal; begun again in {pause} s", pause=FAULT_PAUSE
                    )
                    self._loaded()
                    await deferLater(self._env.clock, FAULT_PAUSE)

    async def _begin(self) -> None:
        while not self._begun:
            sites = self._sites
            renewals = await self._load(sites)
            if sites is self._sites:  # else they were replaced meanwhile
                self._renewals, self._begun = renewals, True
        for renewal in self._renewals:
            renewal.start()
        if self._env.many_sites:
            served = sum(bool(renewal.certificates) for renewal in self._renewals)
            self._log.info(
                "serves the stored certificates of {served} of {sites} sites", served=served, sites=len(self._renewals)
            )
        self._loaded()

    async def _load(self, sites: Sequence[Site]) -> tuple[SiteRenewal, ...]:
        states = await self._load_states(sites)
        await self._env.spending.load()
        stock = Stock(await self._load_certificates())
        now = self._env.now()
        renewals = []
        for site in sites:
            best = choose(site.names, stock, now)
            lacking = best is not None and not all(best.covers(name) for name in site.names)
            older = await self._load_previous(site.name) if lacking else None
            renewals.append(SiteRenewal(site, self._env, states.get(site.name, RenewalState()), best, older))
        return tuple(renewals)

    async def _load_states(self, sites: Sequence[Site], clean: bool = True) -> dict[str, RenewalState]:
        names = [site.name for site in sites]
        loaded = await self._env.defer(lambda: self._env.states.load(names, self._env.now(), clean))
        for complaint in loaded.complaints:
            self._log.error("{complaint}", complaint=complaint)
        return loaded.states

    async def _load_certificates(self) -> Stored:
        delay = _LOAD_AGAIN_FIRST
        while True:
            try:
                return await self._read_store()
            except Exception as error:
                if not self.running:
                    raise CancelledError from None
                self._log.critical(
                    "the certificate store cannot be read: {error}; tried again in {delay:.0f} s. Until then no site"
                    " has a certificate and none is ordered",
                    error=error if isinstance(error, ApplianceError) else repr(error),
                    delay=delay,
                )
            self._loaded()
            await deferLater(self._env.clock, delay)
            delay = min(2 * delay, _LOAD_AGAIN_LONGEST)

    async def _read_store(self) -> Stored:
        certificates = getattr(self._env.store, "certificates", None)
        if certificates is not None:  # stores by others need not know
            return list((await maybeDeferred(certificates).addTimeout(LOAD_TIMEOUT, self._env.clock)).values())
        found = await maybeDeferred(self._env.store.as_dict).addTimeout(LOAD_TIMEOUT, self._env.clock)
        return [certificate for name, pems in found.items() if (certificate := self._parse(name, pems))]

    async def _load_previous(self, name: str) -> Certificate | None:
        """What was stored before; stores by others need not know."""
        previous = getattr(self._env.store, "previous", None)
        if previous is None:
            return None
        try:
            found = await maybeDeferred(previous, name).addTimeout(LOAD_TIMEOUT, self._env.clock)
        except KeyError:
            return None
        except StoreError as error:
            self._log.warn("{name}: its previous certificate cannot be read: {error}", name=name, error=error)
            return None
        return self._parse(name, found)

    def _parse(self, name: str, pem_objects: Sequence[object]) -> Certificate | None:
        try:
            return Certificate.from_pem(b"\n".join(item.as_bytes() for item in pem_objects))  # type: ignore[attr-defined]
        except Exception as error:  # of a store that somebody else wrote
            self._log.error("what is stored for {name} is of no use: {error}", name=name, error=error)
            return None

    def _loaded(self) -> None:
        waiting, self._waiting_for_load = self._waiting_for_load, None
        for deferred in waiting or ():
            deferred.callback(None)

    def _all_stopped(self, stopping: Sequence[Deferred[None]]) -> Deferred[None]:
        """Fire when they have ended, or after ``STOP_TIMEOUT``: then even clean-up and writes are not waited for."""
        all_stopped = DeferredList(stopping, consumeErrors=True)
        stopped: Deferred[None] = Deferred(lambda _: all_stopped.cancel())

        def tell(_: object) -> None:
            if not stopped.called:
                stopped.callback(None)

        all_stopped.addCallback(tell)
        return stopped.addTimeout(STOP_TIMEOUT, self._env.clock, self._log_unclean)

    def _log_unclean(self, result: object, seconds: float) -> None:
        self._log.warn("renewals did not stop within {seconds:.0f} s and are left behind", seconds=seconds)
