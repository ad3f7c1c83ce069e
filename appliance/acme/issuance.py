"""One order, carried out from its names to its certificate (RFC 8555 section 7.4). The rules are :mod:`order`'s."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txacme.interfaces import IResponder  # type: ignore[import-untyped]

from appliance.acme import keys
from appliance.acme.account import Account
from appliance.acme.challenges import ChallengeResponse, PresentedChallenge
from appliance.acme.client import Answer
from appliance.acme.jose import b64url
from appliance.acme.messages import Authorization, Challenge, Order
from appliance.acme.order import (
    FIRST_POLL,
    Move,
    Progress,
    certificate_request,
    choose,
    ends_at,
    failed,
    failure,
    identifiers,
    next_move,
    poll_delay,
    refused,
    spoiled,
    unsuited,
)
from appliance.acme.progress import Tell, tell_nobody
from appliance.acme.request import CertificateRequest, Unfinished
from appliance.acme.responders import Responders
from appliance.errors import (
    AcmeConnectionError,
    AcmeError,
    AcmeProblemError,
    AcmeProtocolError,
    ApplianceError,
    CertificateError,
    Problem,
)
from appliance.shield import shielded
from appliance.tls.certificate import Certificate, PrivateKey

log = Logger()

VALIDATION_TIMEOUT = 300.0
"""Seconds for a CA to check all names of an order, and again to make the certificate."""
RESPONDER_TIMEOUT = 900.0
"""Seconds for a responder to publish or withdraw one challenge; DNS takes its time."""
MAX_CHAINS = 8
"""Alternate chains that are looked at."""
TOLERATED_FAILURES = 5
"""Polls in a row that may fail before a CA that has gone away is given up."""

T = TypeVar("T", Order, Authorization)


@frozen
class _Attempt:
    """One authorization, and how it is being proved."""

    url: str
    authorization: Authorization
    challenge: Challenge
    responder: IResponder
    presented: PresentedChallenge
    response: ChallengeResponse

    @property
    def name(self) -> str:
        return self.authorization.name

    def start(self) -> object:
        return self.responder.start_responding(self.authorization.identifier.value, self.presented, self.response)

    def stop(self) -> object:
        return self.responder.stop_responding(self.authorization.identifier.value, self.presented, self.response)


Remember = Callable[[Unfinished], Awaitable[object]]
"""Writes an unfinished order down; must not raise."""


@frozen
class Terms:
    """How one CA is asked for certificates."""

    authority: str
    """What the configuration calls the CA."""
    profile: str | None = None
    preferred_chain: str | None = None
    """The common name of the root that the chain should end at."""


class OrderGoneError(AcmeError):
    """The CA no longer has the order that was to be gone on with."""


class Issuance:
    """One order; ``run`` or ``resume`` it once. ``responders`` prove its names, and are told how it went."""

    def __init__(
        self,
        clock: IReactorTime,
        account: Account,
        responders: Responders,
        request: CertificateRequest,
        terms: Terms,
        key: PrivateKey,
        tell: Tell = tell_nobody,
    ) -> None:
        """``key`` is the certificate's."""
        self._clock = clock
        self._account = account
        self._responders = responders
        self._request = request
        self._names = request.names
        self._terms = terms
        self._wanted = identifiers(request.names)
        self._key = key
        self._tell = tell
        self._for = f"for {', '.join(request.names)}"

    async def run(self, now: datetime, remember: Remember) -> Certificate:
        """Order a certificate; ``remember`` is told of the order before and after the CA is.

        Raises OrderError, AcmeProblemError, AcmeConnectionError, AcmeProtocolError.
        """
        payload = await self._wish()
        url, order = await shielded(self._place(payload, now, remember))
        return await self._finish(url, order, Progress.ORDERED)

    async def _place(self, payload: Mapping[str, object], now: datetime, remember: Remember) -> tuple[str, Order]:
        """Ask for the order. Cut off in the middle, nobody would know whether the CA has it: to be shielded."""
        unfinished = Unfinished(self._terms.authority, self._names, keys.to_pem(self._key).decode("ascii"), now)
        await remember(unfinished)
        self._tell(f"orders a certificate {self._for} from {self._terms.authority}")
        url, order = await self._new_order(payload)
        await remember(evolve(unfinished, url=url))
        return url, order

    async def resume(self, url: str) -> Certificate:
        """Go on with an order that was begun with the same key. Raises as ``run``; OrderGoneError if there is none."""
        self._tell(f"goes on with its order {self._for} at {self._terms.authority}")
        try:
            order = await self._order(url, lambda order: True)
        except AcmeProblemError as error:
            if error.problem.status not in (400, 403, 404, 410) or error.problem.code == "accountDoesNotExist":
                raise
            raise OrderGoneError(str(error)) from error
        return await self._finish(url, order, Progress.RESUMED)

    async def _finish(self, url: str, order: Order, progress: Progress) -> Certificate:
        pause = 0.0
        while True:
            match next_move(order, progress):
                case Move.AUTHORIZE:
                    await self._authorize(order)
                    progress = Progress.AUTHORIZED
                    order = await self._order(url, lambda order: order.status != "pending")
                case Move.FINALIZE:
                    self._tell("all names are proved: asks for the certificate")
                    order, pause = await self._finalize(order)
                    progress = Progress.FINALIZED
                case Move.WAIT:
                    await _sleep(self._clock, pause)
                    order = await self._order(url, lambda order: order.status in ("valid", "invalid"))
                case Move.DOWNLOAD:
                    self._tell("the certificate is made: fetches it")
                    return await self._download(order)
                case Move.FAIL:
                    failures = await self._spoilers(order) if progress is Progress.RESUMED else {}
                    raise failed(failures) if failures else spoiled(order, self._names)

    async def _wish(self) -> dict[str, object]:
        """What ``newOrder`` is told (section 7.4), with a profile and RFC 9773's ``replaces`` if the CA knows them."""
        directory = await self._account.client.directory()
        payload: dict[str, object] = {"identifiers": [identifier.to_json() for identifier in self._wanted]}
        profile = self._request.profile or self._terms.profile
        if profile is not None and directory.profiles:  # a CA without any, next in line, is better than none
            if profile not in directory.profiles:
                offered = ", ".join(directory.profiles)
                raise AcmeError(
                    f"new order {self._for}: {self._terms.authority} has no profile {profile!r}, it offers {offered};"
                    " correct the profile in the configuration"
                )
            payload["profile"] = profile
        if self._request.replaces is not None and directory.renewal_info is not None:
            payload["replaces"] = self._request.replaces
        return payload

    async def _new_order(self, payload: Mapping[str, object]) -> tuple[str, Order]:
        directory = await self._account.client.directory()
        try:
            answer = await self._account.post(directory.new_order, payload, f"new order {self._for}")
        except AcmeProblemError as error:
            raise refused(error, self._names) or error from error
        if answer.location is None:
            raise AcmeProtocolError(f"new order {self._for}: the CA did not say the order's URL")
        return answer.location, self._parse_order(answer)

    def _parse_order(self, answer: Answer) -> Order:
        order = Order.from_json(answer.json())
        order.check_identifiers(self._wanted)
        return order

    async def _order(self, url: str, done: Callable[[Order], bool]) -> Order:
        order = await self._poll(url, f"order {self._for}", self._parse_order, done)
        if order is None:
            raise AcmeConnectionError(f"order {self._for}: the CA did not get on with it in {VALIDATION_TIMEOUT:g} s")
        return order

    async def _authorize(self, order: Order) -> None:
        """Prove all names that are not proved yet. Raises OrderError telling every name that could not be."""
        attempts, failures = [], {}
        for url in order.authorizations:
            authorization = await self._authorization(url)
            if authorization.status == "pending":
                responders = self._responders.for_name(authorization.name)
                challenge = choose(authorization, responders)
                if challenge is None:
                    failures[authorization.name] = unsuited(authorization, responders)
                else:
                    attempts.append(self._attempt(url, authorization, challenge, responders[challenge.type]))
            elif authorization.status != "valid":
                failures[authorization.name] = failure(authorization)
        if failures:
            raise failed(failures)
        if attempts:
            failures = await self._prove(attempts)
        if failures:
            raise failed(failures, {attempt.name: attempt.challenge.type for attempt in attempts})

    async def _spoilers(self, order: Order) -> dict[str, Problem]:
        """The names that spoiled an order while we were not there to see it: CAs need not tell in the order."""
        failures = {}
        for url in order.authorizations:
            authorization = await self._authorization(url)
            if authorization.status not in ("pending", "valid"):
                failures[authorization.name] = failure(authorization)
        return failures

    async def _authorization(self, url: str) -> Authorization:
        return self._parse_authorization(await self._account.fetch(url, f"authorization {self._for}"))

    def _parse_authorization(self, answer: Answer) -> Authorization:
        authorization = Authorization.from_json(answer.json())
        if authorization.name not in (identifier.value for identifier in self._wanted):
            raise AcmeProtocolError(f"authorization {self._for}: the CA sent one for {authorization.name!r}")
        return authorization

    def _attempt(self, url: str, authorization: Authorization, challenge: Challenge, responder: IResponder) -> _Attempt:
        presented = PresentedChallenge(challenge.type, challenge.token)
        response = ChallengeResponse(self._account.key.key_authorization(challenge.token))
        return _Attempt(url, authorization, challenge, responder, presented, response)

    async def _prove(self, attempts: Sequence[_Attempt]) -> dict[str, Problem]:
        """Present all challenges, have them checked, withdraw them only when all are settled, whatever happens.

        Together, because the apex and its wildcard share one DNS name.
        """
        for attempt in attempts:
            self._tell(f"prepares to prove {attempt.name} by {attempt.challenge.type}")
        try:
            failures = await self._together([(attempt.name, attempt.start) for attempt in attempts])
            if failures:
                return failures
            for attempt in attempts:
                self._tell(f"has {attempt.name} checked by {attempt.challenge.type}")
                if attempt.challenge.status == "pending":
                    await self._account.post(attempt.challenge.url, {}, f"have {attempt.name} checked")
            return await self._settle(attempts)
        finally:
            for name, problem in (await self._together([(a.name, a.stop) for a in attempts])).items():
                log.warn("{name}: its challenge was not withdrawn: {problem.detail}", name=name, problem=problem)

    async def _settle(self, attempts: Sequence[_Attempt]) -> dict[str, Problem]:
        """Wait for every verdict; the CA checks them side by side, so asking one after the other costs nothing."""
        failures = {}
        deadline = self._clock.seconds() + VALIDATION_TIMEOUT
        await _sleep(self._clock, FIRST_POLL)
        for attempt in attempts:
            step = f"authorization of {attempt.name}"
            settled = await self._poll(
                attempt.url, step, self._parse_authorization, lambda it: it.status != "pending", deadline
            )
            if settled is None:
                detail = f"the CA did not check it within {VALIDATION_TIMEOUT:g} s"
                failures[attempt.name] = Problem("timeout", detail)
            elif settled.status != "valid":
                failures[attempt.name] = failure(settled)
                self._responders.failed(attempt.name, attempt.challenge.type)
                self._tell(f"{attempt.name} could not be validated")
            else:
                self._responders.proved(attempt.name, attempt.challenge.type)
                self._tell(f"{attempt.name} is proved")
        return failures

    async def _together(self, calls: Sequence[tuple[str, Callable[[], object]]]) -> dict[str, Problem]:
        """Run responders' methods side by side, each within its time; what failed, by name."""
        running = [maybeDeferred(call).addTimeout(RESPONDER_TIMEOUT, self._clock) for _, call in calls]
        results = await DeferredList(running, consumeErrors=True)
        failures = {}
        for (name, _), (succeeded, result) in zip(calls, results, strict=True):
            if not succeeded:
                assert isinstance(result, Failure)
                if result.check(CancelledError):
                    result.raiseException()
                if not result.check(ApplianceError):  # which speaks for itself
                    log.failure("{name}: its responder failed", result, name=name)
                failures[name] = Problem("responder", result.getErrorMessage() or repr(result.value))
        return failures

    async def _finalize(self, order: Order) -> tuple[Order, float]:
        """The order after our request, and the seconds before it is worth looking at again."""
        payload = {"csr": b64url(certificate_request(self._names, self._key))}
        answer = await self._account.post(order.finalize, payload, f"finalize the order {self._for}")
        return self._parse_order(answer), poll_delay(0, answer.retry_after)

    async def _download(self, order: Order) -> Certificate:
        assert order.certificate is not None  # messages.Order sees to it
        step = f"download the certificate {self._for}"
        answer = await self._account.fetch(order.certificate, step)
        certificate = self._parse_chain(answer, step)
        root = self._terms.preferred_chain
        if root is None or ends_at(certificate, root):
            return certificate
        for url in answer.alternates[:MAX_CHAINS]:
            other = self._parse_chain(await self._account.fetch(url, step), step)
            if ends_at(other, root):
                return other
        log.warn(
            "{step}: {authority} has no chain that ends at {root!r}, which is preferred; its first one is used",
            step=step,
            authority=self._terms.authority,
            root=root,
        )
        return certificate

    def _parse_chain(self, answer: Answer, step: str) -> Certificate:
        try:
            return Certificate.from_pem(keys.to_pem(self._key) + answer.body)
        except CertificateError as error:
            raise AcmeProtocolError(f"{step}: {error}") from error

    async def _poll(
        self,
        url: str,
        step: str,
        parse: Callable[[Answer], T],
        done: Callable[[T], bool],
        deadline: float | None = None,
    ) -> T | None:
        """Ask until ``done`` or the deadline (then None). A CA that stumbles for a moment is asked again."""
        deadline = self._clock.seconds() + VALIDATION_TIMEOUT if deadline is None else deadline
        attempt = failures = 0
        while True:
            try:
                answer = await self._account.fetch(url, step)
            except AcmeError as error:
                failures += 1
                if failures > TOLERATED_FAILURES or not _passing(error):
                    raise
                retry_after = error.problem.retry_after if isinstance(error, AcmeProblemError) else None
            else:
                failures = 0
                found = parse(answer)
                if done(found):
                    return found
                retry_after = answer.retry_after
            left = deadline - self._clock.seconds()
            if left <= 0:
                return None
            await _sleep(self._clock, min(poll_delay(attempt, retry_after), left))
            attempt += 1


def _passing(error: AcmeError) -> bool:
    """Whether asking again in a moment may help."""
    if isinstance(error, AcmeProblemError):
        return error.problem.status >= 500 or error.problem.status == 429
    return isinstance(error, AcmeConnectionError)


def _sleep(clock: IReactorTime, seconds: float) -> Deferred[None]:
    return deferLater(clock, seconds, lambda: None)
