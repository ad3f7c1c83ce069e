"""A CA that does what a test wants, in a time that a test makes pass: the world of a renewal service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pem
from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from appliance.acme.budget import UNLIMITED, Limits
from appliance.acme.renewal import RenewalService
from appliance.acme.request import CertificateRequest, Unfinished
from appliance.acme.sitereport import SiteReport
from appliance.acme.state import RenewalState
from appliance.config import Site
from appliance.errors import Problem
from appliance.shield import shielded
from appliance.store import CertificateStore
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate

START = datetime(2027, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
succeeded = SynchronousTestCase().successResultOf
not_yet = SynchronousTestCase().assertNoResult

Answer = Callable[[Sequence[str]], Any]


def failure_of(deferred: Deferred[Any]) -> BaseException:
    """What it has failed with."""
    error: BaseException = succeeded(deferred.addCallbacks(lambda _: None, lambda failure: failure.value))
    return error


def at_once(function: Callable[[], Any]) -> Deferred[Any]:
    """A thread pool without threads."""
    return maybeDeferred(function)


@define
class World:
    """The clocks, the CA, the disk, what is served: all that a renewal service sees."""

    folder: Path
    clock: Clock = field(factory=Clock)
    name: str = "ca"
    """What the CA is called."""
    host: str = ""
    """Of its directory."""
    limits: Limits = UNLIMITED
    """What it may be used for."""
    jump: float = 0.0
    """By how many seconds the wall clock has been set wrong."""
    life: float = 90 * DAY
    """Of the certificates that the CA makes."""
    orders: list[tuple[float, tuple[str, ...]]] = field(factory=list)
    """When and for which names."""
    answers: dict[str, Answer] = field(factory=dict)
    """By the first name, what the CA does instead of issuing."""
    served: dict[str, Certificate] = field(factory=dict)
    served_names: dict[str, tuple[str, ...]] = field(factory=dict)
    swaps: list[tuple[float, str]] = field(factory=list)
    log: list[str] = field(factory=list)
    store: Any = None
    requests: list[CertificateRequest] = field(factory=list)
    resumed: list[Unfinished] = field(factory=list)
    """Orders gone on with."""
    asked: list[tuple[float, int]] = field(factory=list)
    """When the CA was asked for renewal information, on which serial number."""
    info: Callable[[Certificate], Any] | None = None
    """What it answers."""

    def __attrs_post_init__(self) -> None:
        self.store = CertificateStore(self.folder / "certificates", at_once, now=self.now)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds() + self.jump)

    def certificate(self, *names: str, begun: float = 0.0, life: float | None = None) -> Certificate:
        """One that began some seconds ago."""
        begin = self.now() - timedelta(seconds=begun)
        return make_certificate(names, not_before=begin, not_after=begin + timedelta(seconds=life or self.life))

    async def renewal_info(self, certificate: Certificate) -> Any:
        self.asked.append((self.clock.seconds(), certificate.serial))
        answer = self.info(certificate) if self.info is not None else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def obtain(
        self, request: CertificateRequest, unfinished: Unfinished | None, remember: Any, tell: Any = None
    ) -> Certificate:
        names = request.names
        self.requests.append(request)
        if unfinished is None:
            await shielded(self._place(names, remember))
        else:
            self.resumed.append(unfinished)
        self.orders.append((self.clock.seconds(), tuple(names)))
        answer = self.answers.get(names[0])
        if answer is None:
            return self.certificate(*names)
        result = answer(names)
        return await result if isinstance(result, Deferred) else result

    async def _place(self, names: tuple[str, ...], remember: Any) -> None:
        await remember(Unfinished(self.name, names, "key", self.now()))
        await remember(Unfinished(self.name, names, "key", self.now(), url="https://ca.example/order/1"))

    def install(self, site: str, names: Sequence[str], certificate: Certificate) -> None:
        self.served[site] = certificate
        self.served_names[site] = tuple(names)
        self.swaps.append((self.clock.seconds(), site))

    def withdraw(self, site: str) -> None:
        self.served.pop(site, None)
        self.served_names.pop(site, None)

    def service(self, *sites: str, **options: Any) -> RenewalService:
        """A service for sites given as names joined by commas; not started."""
        given: dict[str, Any] = {
            "issuers": [self],
            "install": self.install,
            "withdraw": self.withdraw,
            "sites": [Site(tuple(names.split(",")), ()) for names in sites],
            "chance": lambda: 0.5,
            "defer": at_once,
        }
        return RenewalService(
            clock=self.clock,
            now=self.now,
            store=self.store,
            state_folder=self.folder / "renewal",
            **(given | options),
        )

    def start(self, *sites: str, **options: Any) -> RenewalService:
        service = self.service(*sites, **options)
        service.startService()
        return service

    def put(self, name: str, certificate: Certificate) -> Certificate:
        """Store a certificate as if an earlier process had."""
        succeeded(self.store.store(name, pem.parse(certificate.to_pem())))
        return certificate

    def pass_time(self, seconds: float, step: float = HOUR) -> None:
        """Let time pass, ``step`` at a time; every call that comes due meanwhile is made at its own time."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            calls = [call.getTime() for call in self.clock.getDelayedCalls()]
            now = self.clock.seconds()
            soonest = min([end, *(time for time in calls if time > now)])
            self.clock.advance(min(step, soonest - now))

    def stored(self, name: str) -> Certificate:
        return Certificate.from_pem((self.folder / "certificates" / f"{name}.pem").read_bytes())

    def state(self, name: str) -> RenewalState:
        return RenewalState.from_json((self.folder / "renewal" / f"{name}.json").read_bytes())

    def times(self, name: str) -> list[float]:
        return [time for time, names in self.orders if names[0] == name]


def only(service: RenewalService) -> SiteReport:
    (report,) = service.report()
    return report


def raising(error: Exception) -> Answer:
    def answer(names: Sequence[str]) -> Any:
        raise error

    return answer


def problem(code: str, detail: str = "no", retry_after: float | None = None) -> Problem:
    return Problem(f"urn:ietf:params:acme:error:{code}", detail, 429, retry_after)
