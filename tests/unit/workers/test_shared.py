"""Certificates, challenges and the switch for maintenance: what changes is told, and there for those who come later."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from appliance.acme.challenges import ChallengeResponse, PendingChallenges, PresentedChallenge
from appliance.acme.tlsalpn import TlsAlpnChallenges
from appliance.clock import utc_now
from appliance.config import Site
from appliance.tls.certificate import Certificate
from appliance.tls.context import HTTP_1_1
from appliance.workers import messages
from appliance.workers.messages import Message, Present
from appliance.workers.shared import Presented, SharedCertificates, SharedMaintenance, SharedResponder
from tests.support.certificates import make_certificate


class Told:
    """What was told, and when it is done."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.done: list[Deferred[None]] = []

    def __call__(self, message: Callable[[], Message]) -> Deferred[None]:
        self.messages.append(message())
        self.done.append(Deferred())
        return self.done[-1]


def test_certificates() -> None:
    """A swap is told whole; those who come later get what is served by then."""
    told = Told()
    shared = SharedCertificates(told, TlsAlpnChallenges(utc_now), (HTTP_1_1,))
    first, second = make_certificate(["one.test", "www.one.test"]), make_certificate(["two.test"])
    shared.swap("one.test", ["one.test"], first)
    shared.swap("two.test", ["two.test"], second)
    shared.remove("two.test")
    swap, _, remove = told.messages
    assert isinstance(swap, messages.Swap)
    assert (swap.site, swap.names, Certificate.from_pem(swap.pem)) == ("one.test", ("one.test",), first)
    assert remove == messages.Remove("two.test")
    assert shared.lookup("one.test") is not None
    coming = shared.all()
    shared.swap("one.test", ["one.test", "www.one.test"], first)
    (late,) = coming
    assert isinstance(late, messages.Swap)
    assert set(late.names) == {"one.test", "www.one.test"}


def test_challenges() -> None:
    """The CA is not told to look before all know; one that two orders present stays until the second is done."""
    told = Told()
    presented = Presented(told)
    response = ChallengeResponse("token.answer")
    own: PendingChallenges | TlsAlpnChallenges
    for own in (PendingChallenges(), TlsAlpnChallenges(utc_now)):
        responder = SharedResponder(own, presented)
        challenge = PresentedChallenge(responder.challenge_type, "token")
        message = Present(responder.challenge_type, "one.test", "token", "token.answer")
        ready: list[None] = []
        responder.start_responding("one.test", challenge, response).addCallback(ready.append)
        assert told.messages[-1] == message
        assert ready == []
        told.done[-1].callback(None)
        assert ready == [None]
        assert len(own) == 1
        responder.start_responding("one.test", challenge, response)
        assert presented.all() == [message, message]
        responder.stop_responding("one.test", challenge, response)
        assert presented.all() == [message]
        responder.stop_responding("one.test", challenge, response)
        responder.stop_responding("one.test", challenge, response)
        assert told.messages[-1] == messages.Withdraw(message)
        assert presented.all() == []
        assert len(own) == 0


def test_maintenance() -> None:
    """The switch works here and there."""

    class Own:
        closed: frozenset[str] = frozenset()
        sites: Sequence[Site] = (Site(("one.test",), ()),)

        def close(self, closed: frozenset[str]) -> None:
            self.closed = closed

    told, own = Told(), Own()
    shared = SharedMaintenance(own, told)
    shared.close(frozenset({"one.test"}))
    assert own.closed == {"one.test"}
    assert told.messages == [messages.Close(frozenset({"one.test"}))]
    assert shared.sites is own.sites
