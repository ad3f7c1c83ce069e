"""DNS-01 as a responder: where records go, in which order, who holds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.internet.task import Clock
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface.verify import verifyClass

from appliance.acme.challenges import ChallengeResponse, PresentedChallenge
from appliance.acme.dns.lookup import AuthoritativeServer, Sight, Sighting
from appliance.acme.dns.record import TxtRecord, challenge_value
from appliance.acme.dns.responder import DnsResponder
from appliance.config.dns import NameServer
from appliance.errors import ResponderError

APEX, WILDCARD = (PresentedChallenge("dns-01", token) for token in ("apex", "wildcard"))


def answer(challenge: PresentedChallenge) -> ChallengeResponse:
    return ChallengeResponse(f"{challenge.token}.thumb")


def value(challenge: PresentedChallenge) -> str:
    return challenge_value(f"{challenge.token}.thumb")


def at_once(function: Callable[[], Any], /) -> Deferred[Any]:
    return execute(function)


class Zone:
    """A publisher and a lookup in one: what is published can be seen, unless the test says otherwise."""

    def __init__(self) -> None:
        self.records: set[tuple[str, str]] = set()
        self.calls: list[str] = []
        self.delegations: dict[str, str] = {}
        self.busy: dict[str, int] = {}
        self.waits: list[Deferred[None]] = []
        self.failing: Exception | None = None
        self.hidden = False
        self.looked_at: list[tuple[str, bool]] = []

    async def present(self, record: TxtRecord) -> None:
        await self._change("present", record)
        self.records.add((record.name, record.value))

    async def withdraw(self, record: TxtRecord) -> None:
        await self._change("withdraw", record)
        self.records.discard((record.name, record.value))

    async def _change(self, action: str, record: TxtRecord) -> None:
        assert not self.busy.get(record.name), "two changes of one name at once"
        self.busy[record.name] = 1
        self.calls.append(f"{action} {record.name}")
        try:
            if self.waits:
                await self.waits.pop(0)
            if self.failing is not None:
                raise self.failing
        finally:
            self.busy[record.name] = 0

    def follow(self, name: str) -> str:
        return self.delegations.get(name, name)

    def authoritative_servers(self, name: str) -> list[AuthoritativeServer]:
        return [AuthoritativeServer("ns1", NameServer("192.0.2.1"))]

    def look(self, server: AuthoritativeServer, name: str, value: str, recursive: bool = False) -> Sighting:
        self.looked_at.append((str(server.address), recursive))
        there = (name, value) in self.records and not self.hidden
        return Sighting(str(server), Sight.THERE if there else Sight.MISSING)


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def responder(zone: Zone) -> DnsResponder:
    lookup: Any = zone
    return DnsResponder(Clock(), zone, lookup, at_once, 60.0)


def outcome(deferred: Deferred[None]) -> list[Any]:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


def test_is_a_responder() -> None:
    """txacme's interface, for DNS-01."""
    assert verifyClass(IResponder, DnsResponder, tentative=True)
    assert DnsResponder.challenge_type == "dns-01"


def test_the_value() -> None:
    """RFC 8555 section 8.4: base64url of the digest, 43 characters."""
    assert challenge_value("token.thumb") == "lCdftpJCXapaZHkBGIZbcubeKW8RmA0jSG_aZN01zbU"


def test_apex_and_wildcard_at_once(responder: DnsResponder, zone: Zone) -> None:
    """Two values under one name, changed one after the other, each withdrawn by itself."""
    gate: Deferred[None] = Deferred()
    zone.waits.append(gate)
    starts = [outcome(responder.start_responding("one.test", each, answer(each))) for each in (APEX, WILDCARD)]
    assert zone.calls == ["present _acme-challenge.one.test"]
    gate.callback(None)
    assert starts == [[None], [None]]
    name = "_acme-challenge.one.test"
    assert zone.records == {(name, value(APEX)), (name, value(WILDCARD))}
    responder.stop_responding("one.test", APEX, answer(APEX))
    assert zone.records == {(name, value(WILDCARD))}
    responder.stop_responding("one.test", WILDCARD, answer(WILDCARD))
    assert zone.records == set()


def test_delegated(responder: DnsResponder, zone: Zone) -> None:
    """It goes where the CNAME leads, and is taken from there even when the CNAME has changed."""
    zone.delegations["_acme-challenge.one.test"] = "one.acme.test"
    responder.start_responding("one.test", APEX, answer(APEX))
    assert zone.records == {("one.acme.test", value(APEX))}
    zone.delegations.clear()
    responder.stop_responding("one.test", APEX, answer(APEX))
    assert zone.records == set()


def test_two_names_delegated_to_one_place(responder: DnsResponder, zone: Zone) -> None:
    """Changes there still come one after the other."""
    zone.delegations = {"_acme-challenge.one.test": "acme.test", "_acme-challenge.two.test": "acme.test"}
    gate: Deferred[None] = Deferred()
    zone.waits.append(gate)
    starts = [
        outcome(responder.start_responding(f"{name}.test", each, answer(each)))
        for name, each in (("one", APEX), ("two", WILDCARD))
    ]
    assert len(zone.calls) == 1
    gate.callback(None)
    assert starts == [[None], [None]]


def test_different_names_do_not_wait(responder: DnsResponder, zone: Zone) -> None:
    """One slow change holds up its own name only."""
    zone.waits.append(Deferred())
    slow = outcome(responder.start_responding("slow.test", APEX, answer(APEX)))
    assert outcome(responder.start_responding("fast.test", APEX, answer(APEX))) == [None]
    assert slow == []


def test_held_twice(responder: DnsResponder, zone: Zone) -> None:
    """Two orders with one authorization: published once, withdrawn with the second end."""
    for _ in range(2):
        assert outcome(responder.start_responding("one.test", APEX, answer(APEX))) == [None]
    assert len(zone.calls) == 1
    responder.stop_responding("one.test", APEX, answer(APEX))
    assert len(zone.records) == 1
    responder.stop_responding("one.test", APEX, answer(APEX))
    assert zone.records == set()


def test_stopping_what_never_started(responder: DnsResponder, zone: Zone) -> None:
    """Harmless, and does not count against a later start."""
    assert outcome(responder.stop_responding("one.test", APEX, answer(APEX))) == [None]
    assert zone.calls == []
    responder.start_responding("one.test", APEX, answer(APEX))
    assert len(zone.records) == 1


def test_a_failure_is_cleaned_up_after(responder: DnsResponder, zone: Zone) -> None:
    """What failed may have had an effect, so the stop that follows withdraws it; then all can begin anew."""
    zone.failing = ResponderError("no")
    failed = outcome(responder.start_responding("one.test", APEX, answer(APEX)))
    assert failed[0].check(ResponderError)
    zone.failing = None
    responder.stop_responding("one.test", APEX, answer(APEX))
    assert zone.calls == ["present _acme-challenge.one.test", "withdraw _acme-challenge.one.test"]
    assert outcome(responder.start_responding("one.test", APEX, answer(APEX))) == [None]


def test_the_place_is_not_found(responder: DnsResponder, zone: Zone) -> None:
    """Nothing was published, so nothing is withdrawn."""

    def follow(name: str) -> str:
        raise ResponderError("no resolver")

    zone.follow = follow  # type: ignore[method-assign]
    assert outcome(responder.start_responding("one.test", APEX, answer(APEX)))[0].check(ResponderError)
    responder.stop_responding("one.test", APEX, answer(APEX))
    assert zone.calls == []


def test_cancelled_while_publishing(responder: DnsResponder, zone: Zone) -> None:
    """The next one in line is not blocked by it."""
    zone.waits.append(Deferred())
    first = responder.start_responding("one.test", APEX, answer(APEX))
    cancelled = outcome(first)
    second = outcome(responder.start_responding("one.test", WILDCARD, answer(WILDCARD)))
    first.cancel()
    assert cancelled[0].check(CancelledError)
    assert second == [None]


def test_servers_of_the_operators_choice(zone: Zone) -> None:
    """They may be resolvers, so they are asked to ask on; the zone's own servers are not."""
    lookup: Any = zone
    mine = DnsResponder(Clock(), zone, lookup, at_once, 60.0, [NameServer("192.0.2.7", 5353)])
    mine.start_responding("one.test", APEX, answer(APEX))
    assert zone.looked_at == [("192.0.2.7:5353", True)]
    DnsResponder(Clock(), zone, lookup, at_once, 60.0).start_responding("two.test", APEX, answer(APEX))
    assert zone.looked_at[1:] == [("192.0.2.1", False)]


def test_not_seen_in_time(zone: Zone) -> None:
    """The order ends with that, instead of with a refusal that the CA counts."""
    zone.hidden = True
    lookup: Any = zone
    clock = Clock()
    failed = outcome(DnsResponder(clock, zone, lookup, at_once, 5.0).start_responding("one.test", APEX, answer(APEX)))
    clock.pump([1] * 8)
    assert "after 5 s ns1 (192.0.2.1) does not have it" in str(failed[0].value)
