"""One CA account that turns names into certificates (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent
from txacme.interfaces import IResponder  # type: ignore[import-untyped]

from appliance.acme import keys
from appliance.acme.account import Account, open_account
from appliance.acme.ari import RenewalInfo, certificate_id
from appliance.acme.budget import limits_of
from appliance.acme.client import AcmeClient
from appliance.acme.issuance import Issuance, OrderGoneError, Remember, Terms
from appliance.acme.progress import Tell, tell_nobody
from appliance.acme.request import CertificateRequest, Unfinished
from appliance.acme.responders import Responders
from appliance.config import CertificateAuthority
from appliance.errors import AcmeProblemError
from appliance.store import Defer
from appliance.tls.certificate import Certificate, PrivateKey

log = Logger()

S = TypeVar("S")


class Issuer:
    """One CA account: registers on first use, then serves any number of orders at once.

    Shared by all sites of that CA. It holds no connection and no timer of its own between calls.
    """

    def __init__(
        self,
        clock: IReactorTime,
        agent: IAgent,
        acme: CertificateAuthority,
        state_dir: Path,
        responders: Responders | Sequence[IResponder],
        *,
        now: Callable[[], datetime],
        defer: Defer,
    ) -> None:
        """``agent``: a :class:`~appliance.acme.client.CaAgent`. ``responders`` in order of preference, for
        all names unless they say otherwise.

        ``now`` is the wall clock (aware, UTC); ``defer`` runs disk work in a thread.
        """
        self.name = acme.label
        """What the configuration calls the CA."""
        self.host = urlsplit(acme.directory).hostname or ""
        """Its directory's."""
        self.limits = limits_of(acme.directory)
        """What may be used of it."""
        self._terms = Terms(self.name, acme.profile, acme.preferred_chain)
        self._clock = clock
        self._client = AcmeClient(clock, agent, acme.directory, now)
        self._acme = acme
        self._state_dir = state_dir
        self._responders = responders if isinstance(responders, Responders) else Responders(responders)
        self._now = now
        self._defer = defer
        self._account: Account | None = None
        self._forgotten = False
        self._registration = _Shared(self._register)

    async def issue(self, names: Sequence[str]) -> Certificate:
        """One certificate for all of ``names``, with a fresh P-256 key, nothing remembered; see ``obtain``."""
        return await self.obtain(CertificateRequest(tuple(names)))

    async def obtain(
        self,
        request: CertificateRequest,
        unfinished: Unfinished | None = None,
        remember: Remember = lambda unfinished: succeed(None),
        tell: Tell = tell_nobody,
    ) -> Certificate:
        """The certificate, with a fresh key; checking it is the caller's.

        ``unfinished`` is an order with an URL to go on with, with its own key, as long as the CA has it. ``remember``
        is told of a new order before the CA is, and again with its URL; ``tell`` of every step.

        Cancel the Deferred made of this to stop: challenges are withdrawn first. Raises OrderError when names are the
        trouble, else AcmeProblemError, AcmeConnectionError, AcmeProtocolError; about the account also AcmeError and
        StoreError.
        """
        if self._account is None:
            tell(f"opens the account at {self.name}")
        account = await self._registered()
        try:
            return await self._order(account, request, unfinished, remember, tell)
        except AcmeProblemError as error:
            if error.problem.code != "accountDoesNotExist":
                raise
        if self._account is account:
            log.warn("{directory} has forgotten our account; registering it again", directory=self._acme.directory)
            self._account, self._forgotten = None, True
        return await self._order(await self._registered(), request, None, remember, tell)

    @property
    def client(self) -> AcmeClient:
        """The connection to the CA, for what is not an order."""
        return self._client

    async def account(self) -> Account:
        """The account, registered if need be; raises as ``obtain`` does about the account."""
        return await self._registered()

    def adopt(self, account: Account) -> None:
        """Go on with this account, which has a new key."""
        self._account = account

    async def renewal_info(self, certificate: Certificate) -> tuple[RenewalInfo, float | None] | None:
        """What the CA suggests (RFC 9773 section 4.2), and its Retry-After in seconds; None if it suggests nothing.

        Raises AcmeConnectionError, AcmeProblemError, AcmeProtocolError.
        """
        base = (await self._client.directory()).renewal_info
        name = certificate_id(certificate.leaf)
        if base is None or name is None:
            return None
        try:
            answer = await self._client.get(f"{base.rstrip('/')}/{name}", "renewal information")
        except AcmeProblemError as error:
            if error.problem.status == 404:  # another CA's, or one that it has forgotten
                return None
            raise
        return RenewalInfo.from_json(answer.json()), answer.retry_after

    async def _order(
        self,
        account: Account,
        request: CertificateRequest,
        unfinished: Unfinished | None,
        remember: Remember,
        tell: Tell,
    ) -> Certificate:
        if unfinished is not None and unfinished.url is not None:
            try:
                key = keys.from_pem(unfinished.key.encode())
                return await self._issuance(account, request, key, tell).resume(unfinished.url)
            except (OrderGoneError, ValueError) as error:
                names = ", ".join(request.names)
                log.warn("the order for {names} cannot be gone on with: {error}", names=names, error=error)
        key = await self._defer(keys.TYPES[request.key_type])
        return await self._issuance(account, request, key, tell).run(self._now(), remember)

    def _issuance(self, account: Account, request: CertificateRequest, key: PrivateKey, tell: Tell) -> Issuance:
        return Issuance(self._clock, account, self._responders, request, self._terms, key, tell)

    async def _registered(self) -> Account:
        if self._account is None:
            self._account = await self._registration.result()
        return self._account

    async def _register(self) -> Account:
        forget, self._forgotten = self._forgotten, False
        return await open_account(self._client, self._acme, self._state_dir, self._now, self._defer, forget=forget)


class _Shared(Generic[S]):
    """One call under way at a time, for all who ask meanwhile; it is cancelled when none of them is left.

    So a CA that does not answer keeps all sites waiting once, together, and not one after the other.
    """

    def __init__(self, call: Callable[[], Coroutine[Deferred[Any], Any, S]]) -> None:
        self._call = call
        self._waiting: list[Deferred[S]] = []
        self._running: Deferred[Any] | None = None

    def result(self) -> Deferred[S]:
        """Fires with what the call returns or raises."""
        waiter: Deferred[S] = Deferred(self._leave)
        self._waiting.append(waiter)
        if self._running is None:
            self._running = Deferred.fromCoroutine(self._call())
            self._running.addBoth(self._done)
        return waiter

    def _done(self, result: S | Failure) -> None:
        self._running = None
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)

    def _leave(self, waiter: Deferred[S]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
            if not self._waiting and self._running is not None:
                self._running.cancel()
