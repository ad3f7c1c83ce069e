"""One site's certificate through the years: does what ``decision`` decides, survives whatever goes wrong with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from appliance.acme.asking import ask
from appliance.acme.decision import Action, Situation, Step, decide, is_good, newest
from appliance.acme.environment import Environment
from appliance.acme.failure import Trouble, classify
from appliance.acme.losses import still_lost
from appliance.acme.ordering import Ordering
from appliance.acme.plan import Plan, after_failure, plan_order
from appliance.acme.pointing import INTERVAL, Pointing, failed_names
from appliance.acme.progress import Progress
from appliance.acme.renewallog import (
    say_that_the_clock_is_slow,
    say_what_failed,
    say_what_is_ordered,
    say_why_there_is_none,
)
from appliance.acme.schedule import SKEW, retry_delay
from appliance.acme.sitecertificates import SiteCertificates
from appliance.acme.sitereport import SiteReport, alarm
from appliance.acme.state import Attempt, RenewalState
from appliance.config import Site
from appliance.errors import ApplianceError, CertificateError
from appliance.shield import shielded
from appliance.tls.certificate import Certificate

FAULT_PAUSE = 60.0
"""Seconds until a site whose renewal met an unexpected error goes on."""

JUMP = 60.0
"""Seconds by which the wall clock and the monotonic one may disagree over one sleep."""

GATHERING = timedelta(hours=1)
"""Over how long renewals are spread that a jump of the clock made due all at once."""

ROLLBACK_REST = timedelta(days=1)
"""How long a certificate that was gone back to is left alone."""

_WENT_BACK = "an operator went back to the previous certificate;"

_SHORTEST_SLEEP = 0.1


class SiteRenewal:
    """One site's loop. Its fields are what is known; ``decide`` says what follows from that; the methods do it."""

    _log = Logger()

    def __init__(
        self,
        site: Site,
        environment: Environment,
        state: RenewalState,
        stored: Certificate | None,
        older: Certificate | None = None,
    ) -> None:
        """``stored`` and ``older`` as for ``SiteCertificates``; ``state`` is what the last process left."""
        self.site = site
        self._env = environment
        self._state = state
        self._certificates = SiteCertificates(site, environment, stored, older)
        self._progress = Progress(environment.now)
        self._ordering = Ordering(site, environment, self._change, self._progress.tell)
        look = environment.look
        self._pointing = Pointing(environment.clock, look, environment.own_addresses) if look is not None else None
        self._ordered: Certificate | None = None
        """What the attempt that is under way has brought: the attempt ends when that is in service."""
        self._plan_made: Plan | None = None
        self._spread = environment.random()
        self._ask_from = environment.asking.slot()
        self._demanded = ""
        self._gathered: datetime | None = None
        self._sleep: Deferred[None] | None = None
        self._watchers: list[Deferred[None]] = []
        self._loop: Deferred[None] | None = None
        self._stopped = False
        if state.running and stored is not None and self._is_fresh(stored):
            # Killed between the certificate's last fsync and the record's: the attempt did bring one.
            self._state = state.succeed(stored.not_before)

    def start(self) -> None:
        """Begin; a stored certificate is in service when this returns."""
        self._loop = Deferred.fromCoroutine(self._run())

    def stop(self) -> Deferred[None]:
        """Give up what is under way, except what is shielded, which ends first; fire when all is clean."""
        assert self._loop is not None, "stopped before it was started"
        self._stopped = True
        self._loop.cancel()
        self._loop.addErrback(lambda failure: failure.trap(CancelledError) and None)
        return self._loop.addCallback(lambda _: self._ended())

    def withdraw(self) -> None:
        """Serve nothing for the site any more: it is stopped, or about to be."""
        self._certificates.withdraw()

    @property
    def state(self) -> RenewalState:
        """What is remembered."""
        return self._state

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Those that may still be of use, the one in service first."""
        return self._certificates.all()

    # What operators ask for.

    def report(self) -> SiteReport:
        """Where the site stands now."""
        now = self._env.now()
        return SiteReport(
            site=self.site.name,
            names=self.site.names,
            serving=self._certificates.serving,
            saved=self._certificates.unsaved is None,
            state=self._state,
            next_step=self._plan(now),
            lost=tuple(
                loss.name for loss in still_lost(self._state.losses, self.site.names, self._certificates.serving)
            ),
            alarm=alarm(self._certificates.serving, self._state, now),
            progress=self._progress.moments,
        )

    def renew(self, force: bool = False) -> Deferred[None] | None:
        """
        Try now, in spite of what waits for failures: what is due or lost, and with ``force`` also what is not, and
        what an operator had wanted left in peace.

        Fires when the attempt has ended, one way or the other; None if there is nothing to try. What the CA or the
        budgets forbid stays forbidden.
        """
        if force:
            self._demanded = "an operator asked for a new certificate"
            if self._state.waiting == _WENT_BACK:
                self._state = evolve(self._state, waiting="", next_attempt=None)
        self._state = self._state.forget_waits(self._env.now())
        self._gathered = None
        if self._sleep is not None and self._plan(self._env.now()).step is Step.WAIT:
            self._demanded = ""
            return None
        ended: Deferred[None] = Deferred()
        self._watchers.append(ended)
        self._wake()
        return ended

    async def roll_back(self, previous: Certificate) -> None:
        """
        Go back to the certificate before this one, and leave it in peace for a day, or until it is about to expire.

        Raises ApplianceError if it would not do: expired, for other names, not to be stored.
        """
        now = self._env.now()
        previous.check(self.site.names, now)
        await self._certificates.keep(previous)
        if self._stopped:  # what is served for these names is another's business now
            raise ApplianceError(
                f"{self.site.name}: its configuration was replaced while its previous certificate was put back, which"
                " is stored, but not served; see appliance status"
            )
        self._certificates.install()
        until = min(now + ROLLBACK_REST, previous.not_after - (previous.not_after - previous.not_before) / 10)
        self._state = evolve(self._state, names=self.site.names, inquiry=None, last_attempt=now, authority="", host="")
        self._state = self._state.hold(until, _WENT_BACK, now)
        await self._save_state()
        self._wake()

    def reconsider(self) -> None:
        """What is asked of CAs has changed: what waits for failures need not wait any longer."""
        self._state = self._state.forget_waits(self._env.now())
        self._wake()

    # The loop.

    @property
    def _authorities(self) -> list[str]:
        """The CAs, by name, in order of preference."""
        return list(self.site.issuer or self._env.issuers)

    def _hosts(self) -> dict[str, str]:
        """The hosts of their directories; none while a reload has replaced the CAs, and has yet to replace the site."""
        issuers, names = self._env.issuers, self._authorities
        return {name: issuers[name].host for name in names} if issuers.keys() >= set(names) else {}

    def _is_running(self) -> bool:
        return not self._stopped and self._env.is_running()

    def _situation(self) -> Situation:
        certificates = self._certificates
        return Situation(
            names=self.site.names,
            state=self._state,
            serving=certificates.serving,
            stored=certificates.stored,
            unsaved=certificates.unsaved,
            store_again=certificates.store_again,
            spread=self._spread,
            asks=True,
            ask_from=self._ask_from,
            demanded=self._demanded,
            authorities=self._hosts(),
            gathered=self._gathered,
        )

    def _plan(self, now: datetime) -> Action:
        return decide(self._situation(), now)

    def _is_fresh(self, certificate: Certificate) -> bool:
        state = RenewalState(authority=self._state.authority, host=self._state.host)
        situation = Situation(self.site.names, state, serving=certificate, authorities=self._hosts())
        return decide(situation, self._env.now()).step is Step.WAIT

    async def _run(self) -> None:
        unexplained = self._certificates.stored is None
        while self._is_running():
            try:
                action = self._plan(self._env.now())
                if unexplained and action.step is Step.WAIT:
                    say_why_there_is_none(self._log, self.site.name, action)
                unexplained = False
                await self._do(action)
            except Exception:
                if self._is_running():
                    self._log.failure(
                        "{site}: unexpected error in its renewal, which goes on in {pause:.0f} s",
                        site=self.site.name,
                        pause=FAULT_PAUSE,
                    )
                    await deferLater(self._env.clock, FAULT_PAUSE)

    async def _do(self, action: Action) -> None:
        if action.step is Step.STORE:
            await shielded(self._store())
        elif action.step is Step.INSTALL:
            await self._install()
        elif action.step is Step.RENEW:
            await self._renew(action.reason)
        elif action.step is Step.ASK:
            await self._ask()
        else:
            self._ended()
            await self._wait(action)

    async def _wait(self, action: Action) -> None:
        """Sleep until there is something to do or to look at, and see whether the clock or the DNS have moved."""
        begun, now = self._env.clock.seconds(), self._env.now()
        seconds = min(((action.look or action.at) - now).total_seconds(), self._env.longest_sleep)
        looks = self._pointing is not None and seconds > INTERVAL
        watched = failed_names(self._state, self.site.names) if looks else ()
        if watched:
            seconds = INTERVAL
        # Thousands of sites sleep at any time: this takes half the memory that deferLater does.
        self._sleep = Deferred()
        alarm = self._env.clock.callLater(max(_SHORTEST_SLEEP, seconds), self._sleep.callback, None)
        try:
            await self._sleep
        except CancelledError:
            if not self._is_running():
                raise
        finally:
            self._sleep = None
            if alarm.active():
                alarm.cancel()
        passed = self._env.clock.seconds() - begun
        if abs((self._env.now() - now).total_seconds() - passed) > JUMP:
            self._clock_jumped()
        if watched:
            await self._look_up(watched)

    def _wake(self) -> None:
        if self._sleep is not None:
            self._sleep.cancel()

    def _clock_jumped(self) -> None:
        """Set, or stopped while the machine slept. What has come due meanwhile came due on all sites at once."""
        now, certificate = self._env.now(), self._certificates.serving
        if certificate is None or now >= certificate.not_after:
            return
        spread = min(GATHERING, (certificate.not_after - now) / 20)
        self._gathered = now + spread * self._env.random()

    async def _look_up(self, names: tuple[str, ...]) -> None:
        assert self._pointing is not None
        changed = await self._pointing.changed(names)
        if not changed:
            return
        changes = ", ".join(f"{name} {change.value}" for name, change in changed.items())
        self._log.info("{site}: {changes}: tried again", site=self.site.name, changes=changes)
        self._state = self._state.forget_waits(self._env.now(), changed)

    # Asking.

    async def _ask(self) -> None:
        certificate = newest(self._situation())
        assert certificate is not None, "decided to ask without a certificate"
        theirs = (name for name, issuer in self._env.issuers.items() if self._state.is_from(name, issuer.host))
        authority = next(theirs, self._authorities[0])
        before = self._state.inquiry_of(certificate)
        inquiry = await ask(self.site.name, self._env, self._env.issuers[authority], certificate, before)
        self._state = evolve(self._state, inquiry=inquiry)
        if inquiry.says_more_than(before):
            await self._save_state()  # anything else, a restart could find out again

    # Ordering.

    async def _renew(self, reason: str) -> None:
        async with self._env.turns.turn():
            if self._plan(self._env.now()).step is not Step.RENEW:
                return  # waiting for the turn has changed something
            plan = plan_order(self._situation(), self._authorities, self._env.now())
            hold = self._ordering.hold(plan)
            if hold is not None:
                held = self._state.hold(hold.until, f"{hold.reason};", self._env.now())
                self._state = evolve(held, names=self.site.names)
                self._log.warn("{site}: no order yet: {reason}", site=self.site.name, reason=hold.reason)
                await self._save_state()
                return
            try:
                if not await self._begin(plan):
                    return
                say_what_is_ordered(self._log, self.site.name, plan, reason)
                self._progress.begin(reason)
                certificate = await self._ordering.order(plan, self._state)
            except Exception as error:
                await shielded(self._order_failed(plan, error))
                return
        self._ordered, self._plan_made = certificate, plan
        self._certificates.take(certificate)
        self._progress.tell("has the certificate: saves it")
        self._spread = self._env.random()

    async def _begin(self, plan: Plan) -> bool:
        """
        Write down that an attempt begins, so that a crash in the middle of it does not lead to another at once.

        Where not even that can be written, a certificate could not be either: no order, unless the site needs one now.
        """
        before, now, serving = self._state, self._env.now(), self._certificates.serving
        life = serving.not_after - serving.not_before if serving is not None else None
        left = serving.not_after - now if serving is not None else None
        failures = before.failures - before.unreached + 1
        next_attempt = now + retry_delay(failures, self._env.random, life=life, left=left)
        self._state = evolve(before.begin(self.site.names, now, next_attempt), unfinished=plan.unfinished)
        self._demanded = ""
        if plan.unfinished is None:
            await self._ordering.abandon(before.unfinished)
        if await self._save_state() or not is_good(serving, self.site.names, self._env.now()):
            return True
        self._state = self._state.fail("no order, because its outcome could not be saved: see the log", next_attempt)
        return False

    async def _change(self, **fields: Any) -> None:
        self._state = evolve(self._state, **fields)
        await self._save_state()

    async def _order_failed(self, plan: Plan, error: Exception) -> None:
        if not self._is_running():
            self._state = self._state.interrupt()
            await self._save_state()
            return
        before = self._state
        trouble = self._fail(plan, error)
        if not isinstance(error, CertificateError):  # which the CA has issued, and counted
            await self._ordering.settle(plan, trouble, before, self._state)
        await self._save_state()

    def _fail(self, plan: Plan, error: Exception) -> Trouble:
        """Draw the conclusions, and say so."""
        trouble = classify(error, plan.names)
        if not isinstance(error, ApplianceError):
            self._log.failure("{site}: unexpected error in an order", site=self.site.name)
        now, random = self._env.now(), self._env.random
        self._state = after_failure(self._situation(), plan, trouble, self._authorities, now, random)
        say_what_failed(self._log, self.site.name, plan, self._state, self._certificates.meanwhile())
        self._progress.tell(f"failed: {trouble.words}")
        return trouble

    # Saving and serving.

    async def _store(self) -> None:
        if not await self._certificates.store():
            return
        stored = self._certificates.stored
        if stored is not None and stored.not_before > self._env.now() + SKEW:
            say_that_the_clock_is_slow(self._log, self.site.name, stored, self._certificates.meanwhile())
            if stored is self._ordered and self._plan_made is not None:
                self._ordered = None
                self._succeeded(stored, self._plan_made)
        elif self._certificates.serving is not stored:
            await self._install()
        await self._save_state()

    async def _install(self) -> None:
        ordered, self._ordered = self._ordered, None
        try:
            certificate = self._certificates.install()
        except Exception as error:
            if ordered is None:  # a failure like those of an attempt, with their waits
                self._state = self._state.begin(self.site.names, self._env.now(), self._env.now())
            self._fail(self._plan_made or Plan(self._authorities[0], self.site.names), error)
            await self._save_state()
            return
        if certificate is ordered and self._plan_made is not None:
            self._succeeded(certificate, self._plan_made)

    def _succeeded(self, certificate: Certificate, plan: Plan) -> None:
        now = self._env.now()
        losses = still_lost(self._state.losses, self.site.names, certificate)
        attempt = Attempt(self._state.last_attempt or now, plan.names, plan.authority, "")
        self._state = self._state.remember(attempt).succeed(now, plan.authority, losses, plan.host)
        self._progress.tell(f"done: {certificate.serial:x} is in service")
        if self._pointing is not None:
            self._pointing.succeeded(entirely=not losses)

    async def _save_state(self) -> bool:
        """Write the record down; whether it could be."""
        return await shielded(self._save_now(self._state))

    async def _save_now(self, state: RenewalState) -> bool:
        try:
            await self._certificates.write(
                lambda: self._env.defer(lambda: self._env.states.save(self.site.name, state))
            )
        except Exception as error:
            self._log.error(
                "{site}: what happened cannot be written down: {error}", error=error, **self._certificates.who()
            )
            return False
        return True

    def _ended(self) -> None:
        """What was under way is over: tell those who wait for it."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.callback(None)
