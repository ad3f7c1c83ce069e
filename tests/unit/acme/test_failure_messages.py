"""What an operator reads when issuance fails: site, name, step, the CA's own words, what to do, when next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from appliance.acme.challenges import PendingChallenges
from appliance.acme.issuer import Issuer
from appliance.acme.renewal import RenewalService
from appliance.ca.memory import MemoryAgent
from appliance.ca.model import Identifier
from appliance.ca.policy import Policy, Profile, Rate, RateLimits
from appliance.ca.server import EmbeddedCa, Outage
from appliance.ca.validation import unproven
from appliance.config import Acme, CertificateAuthority, ExternalAccount, Site
from appliance.store import CertificateStore
from tests.support.demo_ca import AUTHORITY, START
from tests.support.renewalworld import at_once

HOUR = timedelta(hours=1)
NONE_AT_ALL = RateLimits(orders_per_account=Rate(0, HOUR))
NO_FAILURES = RateLimits(failures_per_name=Rate(0, HOUR))
NO_ACCOUNTS = RateLimits(new_accounts=Rate(0, HOUR))
BOUND = ExternalAccount("kid-9", "AAAA")


@frozen
class Case:
    """Something that goes wrong, and what is to be read of it."""

    title: str
    words: tuple[str, ...]
    policy: Policy = field(factory=Policy)
    acme: CertificateAuthority = field(factory=lambda: Acme(agree_tos=True))
    names: tuple[str, ...] = ("shop.test", "www.shop.test")
    failing: Any = None
    """The problem of ``www.shop.test``'s validation, and of all others'."""
    outage: Outage = Outage.NONE
    profile: str | None = None
    wait: float = 40.0


CASES = [
    Case(
        "no A record",
        ("www.shop.test: dns: NXDOMAIN for www.shop.test", "see to its A, AAAA and CAA records"),
        failing=("dns", "NXDOMAIN for www.shop.test"),
    ),
    Case(
        "firewall",
        ("www.shop.test: connection: timed out after 10 s", "no firewall or router block port 80"),
        failing=("connection", "timed out after 10 s"),
    ),
    Case(
        "another server answers",
        ("unauthorized: got <html>", "Something else answered for www.shop.test"),
        failing=("unauthorized", "got <html>"),
    ),
    Case(
        "TLS",
        ("www.shop.test: tls: no certificate was shown", "port 443 leads to this machine without another TLS proxy"),
        failing=("tls", "no certificate was shown"),
    ),
    Case(
        "blocked name",
        ("rejectedIdentifier: www.shop.test is on this CA's block list", "or use another CA"),
        Policy(blocked=frozenset({"www.shop.test"})),
    ),
    Case(
        "account's rate limit",
        (
            "new order for shop.test",
            "rateLimited: too many new orders of this account",
            "Wait for the time the CA names",
        ),
        Policy(limits=NONE_AT_ALL),
    ),
    Case(
        "name's rate limit",
        ("new order for shop.test", "rateLimited: too many failed validations of this name", "Wait for the time"),
        Policy(limits=NO_FAILURES),
    ),
    Case(
        "too many accounts",
        ("register the account", "rateLimited: too many new accounts"),
        Policy(limits=NO_ACCOUNTS),
    ),
    Case(
        "terms of service",
        ("register the account", "has terms of service", "set acme.agree_tos = true"),
        acme=Acme(agree_tos=False),
    ),
    Case(
        "external account wanted",
        ("register the account", "wants an external account", "put them into acme.external_account"),
        Policy(external_accounts={"kid-1": b"x" * 32}),
    ),
    Case(
        "external account unknown",
        ("register the account", "unauthorized", "was the account deactivated, or its external account?"),
        Policy(external_accounts={"kid-1": b"x" * 32}),
        acme=Acme(agree_tos=True, external_account=BOUND),
    ),
    Case(
        "unknown profile",
        ("new order for shop.test", "has no profile 'short'", "it offers tiny", "correct the profile"),
        Policy(profiles={"tiny": Profile(HOUR)}),
        profile="short",
    ),
    Case(
        "nobody listens",
        ("directory: http://demo-ca.internal/directory", "connection refused", "Orders go on by themselves"),
        outage=Outage.DROP,
    ),
    Case(
        "silence",
        ("directory: http://demo-ca.internal/directory did not answer within 30 s", "is the CA reachable from here?"),
        outage=Outage.HANG,
    ),
    Case(
        "trouble of the CA's",
        ("directory: the CA answered serverInternal", "The CA has trouble of its own: this is tried again"),
        outage=Outage.ERROR,
    ),
    Case(
        "no challenge that fits",
        ("*.shop.test: ", "wildcards need dns-01"),
        names=("*.shop.test", "shop.test"),
    ),
]


def failure_of(case: Case, folder: Path) -> str:
    """The first error that is logged."""
    clock = Clock()

    def now() -> Any:
        return START + timedelta(seconds=clock.seconds())

    def prove(identifier: Identifier, token: str, key_authorization: str) -> Deferred[None]:
        return succeed(None) if case.failing is None else fail(unproven(*case.failing))

    ca = EmbeddedCa(clock, now, {"http-01": prove}, case.policy, AUTHORITY, random=Random(1))
    ca.outage = case.outage
    acme = evolve(case.acme, directory=f"{ca.base_url}/directory")
    responders = [PendingChallenges()]
    issuer = Issuer(clock, MemoryAgent(ca), acme, folder, responders, now=now, defer=at_once)
    lines: list[str] = []

    def observe(event: Any) -> None:
        if event["log_level"] in (LogLevel.error, LogLevel.critical):
            lines.append(formatEvent(event))

    service = RenewalService(
        clock,
        now,
        CertificateStore(folder / "certificates", at_once, now=now),
        [issuer],
        lambda site, names, certificate: None,
        [Site(case.names, (), profile=case.profile)],
        folder / "renewal",
        at_once,
    )
    globalLogPublisher.addObserver(observe)
    try:
        service.startService()
        pass_time(clock, case.wait, lambda: bool(lines))
        service.stopService()
    finally:
        globalLogPublisher.removeObserver(observe)
    return lines[0]


def pass_time(clock: Clock, seconds: float, over: Callable[[], bool]) -> None:
    """Until something was said."""
    end = clock.seconds() + seconds
    while clock.seconds() < end and not over():
        clock.advance(0.25)


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_what_is_said(case: Case, tmp_path: Path) -> None:
    """One line has all of it."""
    line = failure_of(case, tmp_path)
    assert line.startswith(f"{case.names[0]}: no certificate for {', '.join(case.names)} from demo-ca.internal: ")
    for words in case.words:
        assert words in line
    assert "tried again" in line
    assert "the site cannot be reached over TLS" in line
    assert "\n" not in line
