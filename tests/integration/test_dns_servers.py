"""Dynamic updates and the look at authoritative servers, against real BINDs: a primary, a secondary, their refusals."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from appliance.acme.challenges import ChallengeResponse, PresentedChallenge
from appliance.acme.dns.lookup import Lookup, Sight
from appliance.acme.dns.record import TxtRecord, challenge_value
from appliance.acme.dns.responder import DnsResponder
from appliance.acme.dns.rfc2136 import DynamicUpdates
from appliance.config.dns import DynamicUpdate, NameServer, TsigKey
from appliance.errors import ResponderError
from tests.support.dnsserver import KEY_NAME, Bind, Relay
from tests.support.processes import eventually, free_port, free_ports

clock: Any = reactor
NAME = "_acme-challenge.one.test"
RECORD = TxtRecord("one.test", NAME, "value")
TWO_SERVERS = ["@ NS ns1", "@ NS ns2", "ns1 A 127.0.0.1", "ns2 A 127.0.0.2"]


def updates(bind: Bind, *, key: str = KEY_NAME, secret: str = "", algorithm: str = "hmac-sha256", **other: Any) -> Any:
    server = NameServer(bind.address, bind.port)
    return DynamicUpdates(DynamicUpdate(server, TsigKey(key, secret or bind.secret, algorithm), **other), deferToThread)


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with Bind(tmp_path_factory.mktemp("bind"), {"one.test": [], "sub.one.test": []}) as running:
        yield running


def refused(updates: DynamicUpdates, record: TxtRecord = RECORD) -> str:
    with pytest.raises(ResponderError) as caught:
        updates._update(record, add=True)
    return str(caught.value)


def test_added_beside_others_and_removed_alone(bind: Bind) -> None:
    """In the zone that the server says is the nearest; twice is no trouble."""
    publisher = updates(bind)
    nested = TxtRecord("a.sub.one.test", "_acme-challenge.a.sub.one.test", "value")
    for record in (RECORD, RECORD, TxtRecord("one.test", NAME, "other"), nested):
        publisher._update(record, add=True)
    assert bind.texts(NAME) == {"value", "other"}
    assert bind.texts(nested.name) == {"value"}
    assert "updating zone 'sub.one.test/IN'" in bind.output()
    for record in (RECORD, RECORD, nested):
        publisher._update(record, add=False)
    assert bind.texts(NAME) == {"other"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "other-key"}, "it does not know the key other-key"),
        ({"algorithm": "hmac-sha512"}, f"it does not know the key {KEY_NAME}, or not with that algorithm"),
        ({"secret": "aGVsbG8="}, f"its key {KEY_NAME} has another secret"),
        ({"zone": "two.test"}, f"{NAME} is not in the zone two.test"),
        ({"zone": "test"}, "NOTAUTH. It is not the primary of test, or does not know the key"),
    ],
)
def test_refusals_in_words(bind: Bind, changes: dict[str, str], words: str) -> None:
    """Each says what is to be compared or corrected, and no secret."""
    said = refused(updates(bind, **changes))
    assert words in said
    assert bind.secret not in said


def test_a_key_without_the_right(tmp_path: Path) -> None:
    """What the server would have to allow, in the words of its configuration."""
    with Bind(tmp_path, {"one.test": []}, update_policy=f"grant {KEY_NAME} name other.one.test TXT;") as strict:
        assert f"REFUSED. Let it allow the key {KEY_NAME} to change TXT records there" in refused(updates(strict))


def test_servers_that_are_not_the_right_ones(bind: Bind) -> None:
    """Another zone's, none at all, a name that does not exist."""
    assert "it should be the zone's primary" in refused(
        updates(bind), TxtRecord("x.test", "_acme-challenge.x.test", "v")
    )
    nobody = DynamicUpdates(DynamicUpdate(NameServer("127.0.0.1", free_port()), None), deferToThread)
    assert "could not be asked to tell the zone" in refused(nobody)
    assert "Connection refused" in refused(nobody)
    nameless = DynamicUpdates(DynamicUpdate(NameServer("nowhere.invalid"), None), deferToThread)
    assert "the name server nowhere.invalid has no address" in refused(nameless)


def test_the_way_to_a_record(tmp_path: Path) -> None:
    """CNAMEs are followed, a circle is not; zones and their servers are found by all their addresses."""
    records = [
        *TWO_SERVERS,
        "@ NS gone",
        "gone A 127.0.0.3",
        "a CNAME b",
        "b CNAME c.other.test.",
        "x CNAME y",
        "y CNAME x",
    ]
    chain = [f"d{number} CNAME d{number + 1}" for number in range(12)]
    zones = {"one.test": [*records, *chain], "other.test": ["@ NS ns1", "ns1 A {address}"]}
    with Bind(tmp_path, zones, follows=True) as bind:
        lookup = Lookup([NameServer("127.0.0.1", bind.port)], bind.port, timeout=1)
        assert lookup.follow("a.one.test") == "c.other.test"
        assert lookup.follow("none.one.test") == "none.one.test"
        with pytest.raises(ResponderError, match=r"in a circle: x\.one\.test -> y\.one\.test -> x\.one\.test"):
            lookup.follow("x.one.test")
        with pytest.raises(ResponderError, match="more than 8 CNAME records"):
            lookup.follow("d0.one.test")
        assert lookup.zone("_acme-challenge.deep.down.one.test") == "one.test"
        servers = lookup.authoritative_servers(NAME)
        port = bind.port
        assert [str(each) for each in servers] == [
            f"gone.one.test (127.0.0.3:{port})",
            f"ns1.one.test (127.0.0.1:{port})",
            f"ns2.one.test (127.0.0.2:{port})",
        ]
        assert [lookup.look(each, NAME, "value").sight for each in servers[1:]] == [Sight.MISSING, Sight.SILENT]
        assert lookup.look(servers[0], NAME, "value").sight is Sight.SILENT


def test_a_wildcard_is_no_delegation(tmp_path: Path) -> None:
    """A record goes beside ``* CNAME``, which then no longer answers for it; a CNAME of its own is followed.

    So is the wildcard's for a name that is there by it alone: with a record below, it would be gone.
    """
    zone = [
        "@ NS ns1",
        "ns1 A {address}",
        "* CNAME lb.hoster.test.",
        "_acme-challenge.own CNAME one.acme.test.",
        "www A {address}",
        "*.www CNAME lb.hoster.test.",
        "wild CNAME deep.other.test.",
    ]
    glue = ["@ NS ns1", "ns1 A {address}"]
    zones = {"one.test": zone, "hoster.test": glue, "acme.test": glue, "other.test": [*glue, "* CNAME x.hoster.test."]}
    with Bind(tmp_path, zones, follows=True) as bind:
        lookup = Lookup([NameServer("127.0.0.1", bind.port)], bind.port, timeout=1)
        assert lookup.follow("_acme-challenge.one.test") == "_acme-challenge.one.test"
        assert lookup.follow("_acme-challenge.www.one.test") == "_acme-challenge.www.one.test"
        assert lookup.follow("_acme-challenge.new.one.test") == "lb.hoster.test"
        assert lookup.follow("_acme-challenge.own.one.test") == "one.acme.test"
        assert lookup.follow("wild.one.test") == "x.hoster.test"
        assert lookup.zone("_acme-challenge.one.test") == "one.test"


def test_a_resolver_that_is_not_there() -> None:
    """Is named."""
    lookup = Lookup([NameServer("127.0.0.1", free_port())], timeout=0.5)
    with pytest.raises(
        ResponderError, match=r"the resolver 127\.0\.0\.1:\d+ does not tell the CNAME record of one\.test"
    ):
        lookup.follow("one.test")


class PrimaryAndSecondary(TestCase):
    """All name servers of a zone count, not only the one that is updated."""

    timeout = 90
    challenge: ClassVar = PresentedChallenge("dns-01", "token")
    response: ClassVar = ChallengeResponse("token.thumb")

    def servers(self, *, told: bool) -> tuple[Bind, Bind]:
        """A primary and its secondary, the second by another address; ``told``: the secondary hears of changes."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        first, second = free_ports(2)
        zones = {"one.test": TWO_SERVERS}
        primary = Bind(folder / "1", zones, port=first, secondary=second if told else None, follows=True)
        secondary = Bind(folder / "2", zones, port=second, primary=first)
        self.enterContext(Relay("127.0.0.2", first, second))
        return self.enterContext(primary), self.enterContext(secondary)

    def responder(self, primary: Bind, timeout: float) -> DnsResponder:
        lookup = Lookup([NameServer("127.0.0.1", primary.port)], primary.port, timeout=1)
        return DnsResponder(clock, updates(primary), lookup, deferToThread, timeout)

    async def test_waits_for_the_secondary(self) -> None:
        """It returns when both have the record."""
        primary, secondary = self.servers(told=True)
        await eventually(clock, lambda: "transferred serial" in secondary.output(), 20, "the first transfer")
        responder = self.responder(primary, 60)
        await responder.start_responding("one.test", self.challenge, self.response)
        wanted = {challenge_value("token.thumb")}
        assert (primary.texts(NAME), secondary.texts(NAME)) == (wanted, wanted)
        await responder.stop_responding("one.test", self.challenge, self.response)
        assert primary.texts(NAME) == set()

    async def test_names_the_one_that_stays_behind(self) -> None:
        """In bounded time."""
        primary, secondary = self.servers(told=False)
        await eventually(clock, lambda: "transferred serial" in secondary.output(), 20, "the first transfer")
        responder = self.responder(primary, 2)
        starting = responder.start_responding("one.test", self.challenge, self.response)
        error = await self.assertFailure(starting, ResponderError)
        assert f"ns2.one.test (127.0.0.2:{primary.port}) does not have it" in str(error)
        assert "ns1" not in str(error)
        await responder.stop_responding("one.test", self.challenge, self.response)
        assert primary.texts(NAME) == set()
