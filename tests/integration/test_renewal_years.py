"""Two years of fifty sites in a minute: the real renewal service and client, a CA with Let's Encrypt's limits."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from appliance.acme.ari import RenewalInfo, certificate_id
from appliance.acme.budget import LETS_ENCRYPT
from appliance.acme.challenges import PendingChallenges
from appliance.acme.issuer import Issuer
from appliance.acme.renewal import RenewalService
from appliance.ca.memory import MemoryAgent
from appliance.ca.model import Identifier, Issued
from appliance.ca.policy import LETS_ENCRYPT_LIMITS, Policy, Window, last_third
from appliance.ca.server import EmbeddedCa, Outage
from appliance.ca.validation import unproven
from appliance.config import Acme, Site
from appliance.errors import AcmeConnectionError
from appliance.store import CertificateStore
from appliance.tls.certificate import Certificate

START = datetime(2027, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SITES = 50
YEARS = timedelta(days=730)
LIVES = {0: 90 * DAY, 250: 64 * DAY, 440: 45 * DAY, 700: 160 * HOUR}
"""From which day on certificates live for how long."""
OUTAGES = {100: (Outage.DROP, 7), 300: (Outage.ERROR, 7), 470: (Outage.HANG, 7), 712: (Outage.DROP, 2)}
"""On which day how many without the CA begin. The certificates of 160 hours would not outlast a week."""
JUMPS = {60: DAY, 63: -DAY, 130: -DAY, 131: DAY, 400: DAY, 402: -2 * DAY, 404: DAY, 721: DAY, 722: -DAY}
"""On which day the machine's clock is set by how much."""
WITHOUT_ARI = (150, 240)
LATE = timedelta(days=120)
"""Until when one of a site's two names cannot be validated."""
PULLED_FORWARD = (350, 716)
"""On which days the CA wants everything replaced within hours."""


def at_once(function: Any) -> Deferred[Any]:
    """A thread pool without threads."""
    return maybeDeferred(function)


class Asking(Issuer):
    """An issuer that asks for renewal information without HTTP in between: seventy thousand times is too often."""

    ca: EmbeddedCa

    async def renewal_info(self, certificate: Certificate) -> tuple[RenewalInfo, float | None] | None:
        if self.ca.outage is not Outage.NONE:
            raise AcmeConnectionError("renewal information: the CA is away")
        answer = self.ca.handle("GET", f"{self.ca.base_url}/renewal-info/{certificate_id(certificate.leaf)}", {}, b"")
        if answer.status == 404:
            return None
        return RenewalInfo.from_json(json.loads(answer.body)), float(dict(answer.headers)["Retry-After"])


@define
class Years:
    """The world of one run."""

    folder: Path
    clock: Clock = field(factory=Clock)
    chance: Random = field(factory=lambda: Random(2027))
    jump: timedelta = timedelta(0)
    served: dict[str, Certificate] = field(factory=dict)
    counts: Counter[str] = field(factory=Counter)
    ca: EmbeddedCa = field(init=False)
    service: RenewalService = field(init=False)
    soonest_end: datetime = START + YEARS
    down_until: datetime = START
    recalled: datetime = START
    """Certificates from before that moment are to be replaced at once."""

    def __attrs_post_init__(self) -> None:
        policy = Policy(limits=LETS_ENCRYPT_LIMITS, renewal_window=self.window, renewal_info_poll=43_200)
        self.ca = EmbeddedCa(self.clock, self.now, {"http-01": self.prove}, policy, random=Random(7))
        issuer = Asking(
            self.clock,
            MemoryAgent(self.ca),
            Acme(f"{self.ca.base_url}/directory", agree_tos=True),
            self.folder,
            [PendingChallenges()],
            now=self.wall,
            defer=at_once,
        )
        issuer.ca, issuer.limits = self.ca, LETS_ENCRYPT
        self.service = RenewalService(
            self.clock,
            self.wall,
            CertificateStore(self.folder / "certificates", at_once, now=self.wall),
            [issuer],
            self.install,
            [Site(names, ()) for names in self.names()],
            self.folder / "renewal",
            at_once,
            chance=self.chance.random,
            longest_sleep=6 * 3600.0,
        )

    @staticmethod
    def names() -> list[tuple[str, ...]]:
        """A dozen below one domain, one with a name that cannot be validated at first, and others."""
        shared = [(f"s{number}.shared.test",) for number in range(12)]
        own = [(f"site{number}.test", f"www.site{number}.test") for number in range(SITES - 13)]
        return [("half.test", "late.half.test"), *shared, *own]

    def now(self) -> datetime:
        """True time: the CA's, and the clients'."""
        return START + timedelta(seconds=self.clock.seconds())

    def wall(self) -> datetime:
        """What the machine takes for it."""
        return self.now() + self.jump

    def prove(self, identifier: Identifier, token: str, key_authorization: str) -> Deferred[None]:
        self.counts["validations"] += 1
        if identifier.value == "late.half.test" and self.now() < START + LATE:
            return fail(unproven("dns", f"no A record for {identifier.value}"))
        return succeed(None)

    def window(self, issued: Issued, now: datetime) -> Window:
        if issued.not_before < self.recalled:
            return Window(self.recalled, self.recalled + 6 * HOUR, "https://ca.test/incident")
        return last_third(issued, now)

    def install(self, site: str, names: Sequence[str], certificate: Certificate) -> None:
        old = self.served.get(site)
        if old is not None and old is not certificate:
            self.counts["renewals"] += 1
            left = (old.not_after - self.now()) / (old.not_after - old.not_before)
            self.counts["worst"] = max(self.counts["worst"], round(1000 * (1 - left)))
        self.served[site] = certificate
        self.soonest_end = min(each.not_after for each in self.served.values())

    def live(self, day: int) -> None:
        """What happens on this day."""
        if day in LIVES:
            self.ca.policy = evolve(self.ca.policy, lifetime=LIVES[day])
        if day in WITHOUT_ARI:
            off = day == WITHOUT_ARI[0]
            self.ca.policy = evolve(self.ca.policy, renewal_window=None if off else self.window)
        if day in OUTAGES:
            self.ca.outage, days = OUTAGES[day]
            self.down_until = self.now() + days * DAY
        elif self.now() >= self.down_until:
            self.ca.outage = Outage.NONE
        if day in PULLED_FORWARD:
            self.recalled = self.now()
        if day in JUMPS:
            self.jump += JUMPS[day]

    def pass_day(self) -> None:
        """Every call that comes due is made at its own time."""
        end = self.clock.seconds() + DAY.total_seconds()
        while (soonest := min([call.getTime() for call in self.clock.calls[:1]], default=end)) < end:
            self.clock.advance(max(0.0, soonest - self.clock.seconds()))
            self.look()
        self.clock.advance(end - self.clock.seconds())
        self.look()

    def look(self) -> None:
        """No client sees an expired certificate."""
        now = self.now()
        if self.soonest_end <= now:
            expired = [site for site, certificate in self.served.items() if certificate.not_after <= now]
            assert expired == [], f"{now}: expired"


@contextmanager
def counted(counts: Counter[str]) -> Iterator[None]:
    """Count the tracebacks that are logged."""

    def observe(event: Any) -> None:
        if event.get("log_failure") is not None:
            counts["tracebacks"] += 1

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)


@pytest.mark.timeout(600)  # for machines that do other things, too
def test_two_years_of_fifty_sites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lives of 90, 64, 45 days and 160 hours, weeks without a CA, recalls, a clock that jumps: never expired."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is lost here
    begun, computed = time.monotonic(), time.process_time()
    years = Years(tmp_path)
    with counted(years.counts):
        years.service.startService()
        for day in range(YEARS.days):
            years.live(day)
            years.pass_day()
            assert len(years.served) >= SITES, "every site has a certificate from the first day on"
        stopped = years.service.stopService()
    took, computed = time.monotonic() - begun, time.process_time() - computed
    assert stopped.called
    assert years.served["half.test"].covers("late.half.test"), "tried again until it was validated"
    with capsys.disabled():
        print(f"\ntwo years of {SITES} sites in {took:.1f} s, {computed:.1f} of them computing")
        print(f"the CA: {dict(sorted(years.ca.counts.items()))}")
        print(f"seen: {dict(years.counts)}; worst: thousandths of a life used before the next certificate")
    assert years.ca.counts["rateLimited"] == 0, "the CA never had to say that it was too much"
    assert years.counts["tracebacks"] == 0
