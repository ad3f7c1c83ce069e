"""One attempt at a certificate: what it uses, the order itself, and whether what came of it may go live."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from appliance.acme.budget import Hold, Use, certificate_uses, failure_uses, order_uses
from appliance.acme.environment import Environment
from appliance.acme.failure import VALIDATIONS, OrderTimeoutError, Trouble, is_limit
from appliance.acme.plan import Plan
from appliance.acme.progress import Tell, tell_nobody
from appliance.acme.request import CertificateRequest, Unfinished
from appliance.acme.schedule import LONGEST_RETRY_AFTER
from appliance.acme.state import RenewalState
from appliance.config import Site
from appliance.errors import AcmeError, AcmeProblemError, OrderError
from appliance.tls.certificate import Certificate

SLOW_CLOCK = timedelta(days=2)
"""How far our clock may be behind the CA's before its certificates are refused. They are kept until they are valid."""


class Change(Protocol):
    """Changes some fields of the site's record, and writes it down; does not raise."""

    async def __call__(self, **fields: Any) -> None:
        """See above."""


class Ordering:
    """Carries out plans for one site. Keeps nothing between them but what the CA said about ``replaces``."""

    _log = Logger()

    def __init__(self, site: Site, environment: Environment, change: Change, tell: Tell = tell_nobody) -> None:
        self._site = site
        self._env = environment
        self._change = change
        self._tell = tell
        self._not_replaced: str | None = None

    def hold(self, plan: Plan) -> Hold | None:
        """What our own budgets say against it."""
        limits = self._env.issuers[plan.authority].limits
        uses = (*self._new_uses(plan), *failure_uses(plan.authority, limits, plan.names))
        return self._env.spending.room(plan.authority, uses)

    async def order(self, plan: Plan, state: RenewalState) -> Certificate:
        """Get a certificate that may go live, or raise: ApplianceError for everything foreseen."""
        request = CertificateRequest(
            names=plan.names,
            key_type=self._site.key_type or self._env.key_type,
            profile=self._site.profile,
            replaces=self._replaces(plan),
        )
        await self._rehearse(request, state)
        try:
            certificate = await self._obtain(plan, request)
        except AcmeProblemError as error:
            if request.replaces is None or not _may_be_about_replacing(error):
                raise
            certificate = await self._obtain_anew(plan, request, error)
        now = self._env.now()
        certificate.check(plan.names, max(now, min(certificate.not_before, now + SLOW_CLOCK)))
        self._env.verify(certificate)
        return certificate

    async def abandon(self, unfinished: Unfinished | None) -> None:
        """No certificate will come of this order: what it was charged is given back."""
        if unfinished is not None and unfinished.counted and unfinished.authority in self._env.issuers:
            limits = self._env.issuers[unfinished.authority].limits
            await self._env.spending.refund(certificate_uses(unfinished.authority, limits, unfinished.names))

    async def settle(self, plan: Plan, trouble: Trouble, before: RenewalState, after: RenewalState) -> None:
        """Account for an attempt that failed; the records are from before and after that was known."""
        env = self._env
        if plan.authority not in env.issuers:
            return  # no longer: a new configuration
        limits = env.issuers[plan.authority].limits
        failed = [name for name, problem in trouble.names.items() if problem.code in VALIDATIONS]
        if failed:
            await env.spending.spend(failure_uses(plan.authority, limits, failed))
        if after.unfinished is None:
            await self.abandon(before.unfinished)
            if trouble.unreachable and before.unfinished is not None and before.unfinished.counted:
                await env.spending.refund(order_uses(plan.authority, limits))  # it never arrived
        if trouble.whole_account and trouble.retry_after is not None:
            wait = min(timedelta(seconds=trouble.retry_after), LONGEST_RETRY_AFTER)
            await env.spending.hold(plan.authority, env.now() + wait)

    def _new_uses(self, plan: Plan) -> tuple[Use, ...]:
        """What a new order uses; nothing if it goes on with one, or is exempt (RFC 9773 section 5)."""
        if plan.unfinished is not None or self._replaces(plan):
            return ()
        limits = self._env.issuers[plan.authority].limits
        return (*order_uses(plan.authority, limits), *certificate_uses(plan.authority, limits, plan.names))

    def _replaces(self, plan: Plan) -> str | None:
        return plan.replaces if plan.replaces != self._not_replaced else None

    async def _rehearse(self, request: CertificateRequest, state: RenewalState) -> None:
        """Before a site's first certificate, if so configured: the same with a CA where mistakes do not count.

        Only names that fail there stop the order; that CA's own troubles do not.
        """
        rehearsal = self._env.rehearsal
        if rehearsal is None or state.last_success is not None or set(request.names) <= set(state.rehearsed):
            return
        where = f"rehearsal at {rehearsal.name}"
        self._log.info("{site}: {where}", site=self._site.name, where=where)
        self._tell(where)
        try:
            await self._in_time(
                rehearsal.obtain(evolve(request, profile=None, replaces=None), None, _forget, self._tell)
            )
        except OrderError as error:
            raise OrderError(f"{where}: {error}", error.failures) from error
        except AcmeError as error:
            self._log.warn("{site}: no {where}: {error}", site=self._site.name, where=where, error=error)
            return
        await self._change(rehearsed=request.names)

    async def _obtain(self, plan: Plan, request: CertificateRequest) -> Certificate:
        """Charge our budgets when the CA is about to be asked for a new order, not before."""
        if plan.authority not in self._env.issuers:
            raise OrderError(f"{plan.authority} is no CA of the configuration any more")
        uses = self._new_uses(plan)

        async def remember(unfinished: Unfinished) -> None:
            if unfinished.url is None:
                await self._env.spending.spend(uses)
            await self._change(unfinished=evolve(unfinished, counted=bool(uses)))

        issuer = self._env.issuers[plan.authority]
        return await self._in_time(issuer.obtain(request, plan.unfinished, remember, self._tell))

    async def _obtain_anew(self, plan: Plan, request: CertificateRequest, refusal: AcmeProblemError) -> Certificate:
        """The same as if it replaced nothing, which counts for our budgets. Without room there, raises the refusal."""
        self._not_replaced = request.replaces
        if self.hold(plan) is not None:
            raise refusal
        self._log.warn("{site}: ordered as if it replaced nothing: {error}", site=self._site.name, error=refusal)
        try:
            return await self._obtain(plan, evolve(request, replaces=None))
        except AcmeProblemError as error:
            if error.problem.code == refusal.problem.code:
                self._not_replaced = None  # it was about something else
            raise

    async def _in_time(self, obtaining: Coroutine[Any, Any, Certificate]) -> Certificate:
        timeout = self._env.order_timeout
        ordering = Deferred.fromCoroutine(obtaining)
        try:
            return await ordering.addTimeout(timeout, self._env.clock)
        except TimeoutError:
            raise OrderTimeoutError(
                f"the order for {', '.join(self._site.names)} was not finished within {timeout:.0f} s"
            ) from None


def _may_be_about_replacing(error: AcmeProblemError) -> bool:
    """Whether the same order might be taken without ``replaces``.

    CAs use many codes for a certificate that was replaced already, is another account's or is not known, and the same
    ones for other things: only what is surely about something else is left out.
    """
    problem = error.problem
    surely_not = is_limit(problem) or problem.status >= 500 or problem.code in ("badNonce", "accountDoesNotExist")
    return error.step.startswith("new order") and not surely_not


async def _forget(unfinished: Unfinished) -> None:
    """Nobody goes on with a rehearsal."""
