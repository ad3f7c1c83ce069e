"""One order, carried out from its names to its certificate (RFC 8555 section 7.4). The rules are :mod:`order`'s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txacme.interfaces import IResponder  # type: ignore[import-untyped]

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
    failed,
    failure,
    identifiers,
    next_move,
    poll_delay,
    refused,
    spoiled,
    unsuited,
)
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
from appliance.tls.certificate import Certificate

log = Logger()

VALIDATION_TIMEOUT = 300.0
"""Seconds for a CA to check all names of an order, and again to make the certificate."""
RESPONDER_TIMEOUT = 900.0
"""Seconds for a responder to publish or withdraw one challenge; DNS takes its time."""
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


class Issuance:
    """One order for ``names``; ``run`` it once. ``responders`` prove its names, and are told how it went."""

    def __init__(self, clock: IReactorTime, account: Account, responders: Responders, names: tuple[str, ...]) -> None:
        self._clock = clock
        self._account = account
        self._responders = responders
        self._names = names
        self._wanted = identifiers(names)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._for = f"for {', '.join(names)}"

    async def run(self) -> Certificate:
        """The certificate. Raises OrderError, AcmeProblemError, AcmeConnectionError, AcmeProtocolError."""
        url, order = await self._new_order()
        progress, pause = Progress.ORDERED, 0.0
        while True:
            match next_move(order, progress):
                case Move.AUTHORIZE:
                    await self._authorize(order)
                    progress = Progress.AUTHORIZED
                    order = await self._order(url, lambda order: order.status != "pending")
                case Move.FINALIZE:
                    order, pause = await self._finalize(order)
                    progress = Progress.FINALIZED
                case Move.WAIT:
                    await _sleep(self._clock, pause)
                    order = await self._order(url, lambda order: order.status in ("valid", "invalid"))
                case Move.DOWNLOAD:
                    return await self._download(order)
                case Move.FAIL:
                    raise spoiled(order, self._names)

    async def _new_order(self) -> tuple[str, Order]:
        directory = await self._account.client.directory()
        payload = {"identifiers": [identifier.to_json() for identifier in self._wanted]}
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
            authorization = self._parse_authorization(await self._account.fetch(url, f"authorization {self._for}"))
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
            raise failed(self._names, failures)
        if attempts:
            failures = await self._prove(attempts)
        if failures:
            raise failed(self._names, failures)

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
        try:
            failures = await self._together([(attempt.name, attempt.start) for attempt in attempts])
            if failures:
                return failures
            for attempt in attempts:
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
            else:
                self._responders.proved(attempt.name, attempt.challenge.type)
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
        key = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            return Certificate.from_pem(key + answer.body)
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
