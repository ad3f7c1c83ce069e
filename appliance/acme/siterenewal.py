"""One site's certificate through the years: does what ``decision`` decides, survives whatever goes wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import pem
from attrs import frozen
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    TimeoutError,
    maybeDeferred,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from txacme.interfaces import ICertificateStore  # type: ignore[import-untyped]

from appliance.acme.decision import Action, Situation, Step, covered, decide, is_good
from appliance.acme.schedule import SKEW, retry_delay
from appliance.acme.state import RenewalState, StateFolder
from appliance.config import Site
from appliance.errors import AcmeConnectionError, AcmeProblemError, ApplianceError, OrderError, StoreError
from appliance.store import Defer
from appliance.tls.certificate import Certificate

WRITE_TIMEOUT = 120.0
"""Seconds after which a write that has not ended is taken for failed."""

FAULT_PAUSE = 60.0
"""Seconds until a site whose renewal met an unexpected error goes on."""

_SHORTEST_SLEEP = 0.1


class Issuing(Protocol):
    """What certificates come from: ``issuer.Issuer``, or anything shaped like it."""

    async def issue(self, names: Sequence[str], /) -> Certificate:
        """Order one certificate for all ``names``."""


class Install(Protocol):
    """Puts a certificate into service for some names of a site: ``SniMap.swap``."""

    def __call__(self, site: str, names: Sequence[str], certificate: Certificate, /) -> None:
        """Serve it from the next handshake on; raise if it cannot be."""


@frozen
class Environment:
    """What all sites' renewals share."""

    clock: IReactorTime
    """For timers; monotonic."""
    now: Callable[[], datetime]
    """For dates; aware, UTC."""
    store: ICertificateStore
    states: StateFolder
    issuer: Issuing
    install: Install
    verify: Callable[[Certificate], object]
    """Raises if OpenSSL would not load the certificate: to be known before it is written."""
    defer: Defer
    random: Callable[[], float]
    slots: DeferredSemaphore
    """As many tokens as there may be orders at once."""
    order_timeout: float
    """Seconds after which an order is given up, so that a hanging one does not keep its slot."""
    longest_sleep: float
    """Seconds after which the wall clock is looked at again: it may have jumped, or the machine slept."""
    is_running: Callable[[], bool]


@frozen
class SiteReport:
    """Where a site stands: for the status page, the metrics and the log."""

    site: str
    names: tuple[str, ...]
    serving: Certificate | None
    """What handshakes get now."""
    saved: bool
    """False while the newest certificate could not be written."""
    state: RenewalState
    next_step: Action


class SiteRenewal:
    """One site's loop. Its fields are what is known; ``decide`` says what follows from that; the methods do it."""

    _log = Logger()

    def __init__(self, site: Site, environment: Environment, state: RenewalState, stored: Certificate | None) -> None:
        """``stored`` is the best stored certificate, if any is good; ``state`` what the last process left."""
        self._site = site
        self._env = environment
        self._state = state
        self._stored = stored
        self._serving: Certificate | None = None
        self._unsaved: Certificate | None = None
        self._ordered: Certificate | None = None
        """What the attempt that is under way has brought: the attempt ends when that is in service."""
        self._store_failures = 0
        self._store_again: datetime | None = None
        self._spread = environment.random()
        self._writing = False
        self._loop: Deferred[None] | None = None
        if state.running and stored is not None and self._is_fresh(stored):
            # Killed between the certificate's last fsync and the record's: the attempt did bring one.
            self._state = state.succeed(stored.not_before)

    def start(self) -> None:
        """Begin; a stored certificate is in service when this returns."""
        self._loop = Deferred.fromCoroutine(self._run())

    def stop(self) -> Deferred[None]:
        """Give up what is under way, except a write, which ends first; fire when all is clean."""
        assert self._loop is not None, "stopped before it was started"
        if not self._writing:
            self._loop.cancel()
        return self._loop.addErrback(lambda failure: failure.trap(CancelledError) and None)

    def report(self) -> SiteReport:
        """Where the site stands now."""
        return SiteReport(
            site=self._site.name,
            names=self._site.names,
            serving=self._serving,
            saved=self._unsaved is None,
            state=self._state,
            next_step=self._plan(self._env.now()),
        )

    def _plan(self, now: datetime) -> Action:
        situation = Situation(
            names=self._site.names,
            state=self._state,
            serving=self._serving,
            stored=self._stored,
            unsaved=self._unsaved,
            store_again=self._store_again,
            spread=self._spread,
        )
        return decide(situation, now)

    def _is_fresh(self, certificate: Certificate) -> bool:
        return decide(Situation(self._site.names, serving=certificate), self._env.now()).step is Step.WAIT

    async def _run(self) -> None:
        while self._env.is_running():
            try:
                await self._do(self._plan(self._env.now()))
            except Exception:
                if self._env.is_running():
                    self._log.failure(
                        "{site}: unexpected error in its renewal, which goes on in {pause:.0f} s",
                        site=self._site.name,
                        pause=FAULT_PAUSE,
                    )
                    await deferLater(self._env.clock, FAULT_PAUSE)

    async def _do(self, action: Action) -> None:
        if action.step is Step.STORE:
            await self._store()
        elif action.step is Step.INSTALL:
            await self._install()
        elif action.step is Step.RENEW:
            await self._renew(action.reason)
        else:
            seconds = (action.at - self._env.now()).total_seconds()
            await deferLater(self._env.clock, max(_SHORTEST_SLEEP, min(seconds, self._env.longest_sleep)))

    # Ordering.

    async def _renew(self, reason: str) -> None:
        async with self._env.slots:
            if not await self._begin():
                return
            self._log.info("{site}: orders a certificate for {names}: {reason}", reason=reason, **self._who())
            try:
                certificate = await self._order()
            except Exception as error:
                await self._order_failed(error)
                return
        self._unsaved = self._ordered = certificate
        self._store_failures, self._store_again = 0, None
        self._spread = self._env.random()

    async def _begin(self) -> bool:
        """
        Write down that an attempt begins, so that a crash in the middle of it does not lead to another at once.

        Where not even that can be written, a certificate could not be either: no order, unless the site needs one now.
        """
        before, now = self._state, self._env.now()
        next_attempt = now + self._retry_delay(before.failures + 1)
        self._state = before.begin(self._site.names, now, next_attempt)
        if await self._save_state() or not is_good(self._serving, self._site.names, self._env.now()):
            return True
        self._state = self._state.fail("no order, because its outcome could not be saved: see the log", next_attempt)
        return False

    async def _order(self) -> Certificate:
        """Get a certificate that may go live, or raise."""
        if not self._env.is_running():
            raise CancelledError
        timeout = self._env.order_timeout
        ordering = Deferred.fromCoroutine(self._env.issuer.issue(self._site.names))
        certificate = await ordering.addTimeout(timeout, self._env.clock)
        now = self._env.now()
        certificate.check(self._site.names, max(now, min(certificate.not_before, now + SKEW)))
        self._env.verify(certificate)
        return certificate

    async def _order_failed(self, error: Exception) -> None:
        now = self._env.now()
        if not self._env.is_running():
            self._state = self._state.interrupt(now)
            await self._save_state()
            return
        retry_after = _retry_after(error)
        unreachable = isinstance(error, AcmeConnectionError | StoreError)  # nothing that the CA would count
        next_attempt = now + self._retry_delay(self._state.failures, retry_after, unreachable)
        problem = self._describe(error)
        self._state = self._state.fail(problem, next_attempt, retry_after is not None)
        self._log.error(
            "{site}: no certificate for {names}: {problem}; tried again at {at:%Y-%m-%d %H:%M:%S} UTC"
            " ({failures} in a row failed); until then {meanwhile}",
            problem=problem,
            at=next_attempt,
            failures=self._state.failures,
            meanwhile=self._meanwhile(),
            **self._who(),
        )
        await self._save_state()

    def _describe(self, error: Exception) -> str:
        if isinstance(error, ApplianceError):
            return str(error)
        if isinstance(error, TimeoutError):
            return f"the order was not finished within {self._env.order_timeout:.0f} s and has been given up"
        self._log.failure("{site}: unexpected error in an order", site=self._site.name)
        return f"unexpected error in the order: {type(error).__name__}: {error}"

    # Saving and serving.

    async def _store(self) -> None:
        certificate = self._unsaved
        assert certificate is not None, "decided to store without a certificate"
        try:
            await self._write(lambda: self._env.store.store(self._site.name, pem.parse(certificate.to_pem())))
        except Exception as error:
            self._store_failures += 1
            # Trying costs nobody anything, so this backs off no further than asking for an unreachable CA does.
            delay = retry_delay(self._store_failures, self._env.random, life=_life(certificate), unreachable=True)
            self._store_again = self._env.now() + delay
            self._log.critical(
                "{site}: the new certificate for {names} CANNOT BE SAVED: {problem}. It is kept in memory and saving is"
                " tried again in {delay:.0f} s; a restart before that loses it. Until then {meanwhile}",
                problem=error,
                delay=delay.total_seconds(),
                meanwhile=self._meanwhile(),
                **self._who(),
            )
            return
        self._stored, self._unsaved = certificate, None
        if self._serving is not certificate:
            await self._install()
        await self._save_state()

    async def _install(self) -> None:
        certificate = self._unsaved or self._stored
        assert certificate is not None, "decided to serve without a certificate"
        try:
            self._env.install(self._site.name, covered(certificate, self._site.names), certificate)
        except Exception as error:
            self._stored = self._unsaved = None
            if certificate is not self._ordered:  # a failure like those of an attempt, with their waits
                self._state = self._state.begin(self._site.names, self._env.now(), self._env.now())
            await self._order_failed(error)
            return
        self._serving = certificate
        if certificate is self._ordered:
            self._state, self._ordered = self._state.succeed(self._env.now()), None
        self._log.info(
            "{site}: serves certificate {serial:x} from {issuer} for {names}, valid until {end:%Y-%m-%d %H:%M:%S} UTC",
            serial=certificate.serial,
            issuer=certificate.issuer,
            end=certificate.not_after,
            **self._who(),
        )

    async def _save_state(self) -> bool:
        state = self._state
        try:
            await self._write(lambda: self._env.defer(lambda: self._env.states.save(self._site.name, state)))
        except Exception as error:
            self._log.error("{site}: what happened cannot be written down: {error}", error=error, **self._who())
            return False
        return True

    async def _write(self, write: Callable[[], Deferred[None]]) -> None:
        self._writing = True
        try:
            await maybeDeferred(write).addTimeout(WRITE_TIMEOUT, self._env.clock)
        finally:
            self._writing = False

    # Words and numbers.

    def _retry_delay(self, failures: int, retry_after: float | None = None, unreachable: bool = False) -> timedelta:
        current = self._serving or self._stored
        return retry_delay(
            failures,
            self._env.random,
            life=_life(current) if current is not None else None,
            left=current.not_after - self._env.now() if current is not None else None,
            retry_after=retry_after,
            unreachable=unreachable,
        )

    def _who(self) -> dict[str, str]:
        return {"site": self._site.name, "names": ", ".join(self._site.names)}

    def _meanwhile(self) -> str:
        if self._serving is None:
            return "the site cannot be reached over TLS"
        return f"the certificate that ends at {self._serving.not_after:%Y-%m-%d %H:%M:%S} UTC stays in service"


def _life(certificate: Certificate) -> timedelta:
    return certificate.not_after - certificate.not_before


def _retry_after(error: Exception) -> float | None:
    """The longest wait that the CA asked for, in seconds."""
    problems = []
    if isinstance(error, AcmeProblemError):
        problems = [error.problem]
    elif isinstance(error, OrderError):
        problems = list(error.failures.values())
    return max((problem.retry_after for problem in problems if problem.retry_after is not None), default=None)
