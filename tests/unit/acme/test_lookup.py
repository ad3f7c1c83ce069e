"""Where names lead, as the DNS has it."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names.dns import AAAA, CNAME, A, Message, Record_A, Record_AAAA, Record_CNAME, RRHeader
from twisted.names.error import DNSNameError, DNSQueryTimeoutError, DNSServerError

from appliance.acme.lookup import Lookup
from tests.support.renewalworld import failure_of, succeeded

FOUR = [RRHeader(type=CNAME, payload=Record_CNAME("b.test")), RRHeader(type=A, payload=Record_A("192.0.2.1"))]
SIX = [RRHeader(type=AAAA, payload=Record_AAAA("2001:db8::1"))]


def test_nothing_before_the_first_question() -> None:
    """A service that is made and not started, as to check its configuration, leaves no timer behind."""
    clock = Clock()
    Lookup(clock)
    assert clock.getDelayedCalls() == []


@frozen
class NameServer:
    """Answers with these records, or fails so."""

    four: Any
    six: Any

    def lookupAddress(self, name: str) -> Deferred[Any]:
        return self._answer(self.four)

    def lookupIPV6Address(self, name: str) -> Deferred[Any]:
        return self._answer(self.six)

    def _answer(self, answer: Any) -> Deferred[Any]:
        return fail(answer) if isinstance(answer, Exception) else succeed((answer, [], []))


@pytest.mark.parametrize(
    ("four", "six", "addresses"),
    [
        (FOUR, SIX, {"192.0.2.1", "2001:db8::1"}),
        (FOUR, [], {"192.0.2.1"}),
        (FOUR, DNSNameError(Message()), {"192.0.2.1"}),
        (DNSNameError(Message()), DNSNameError(Message()), set()),
    ],
)
def test_addresses(four: Any, six: Any, addresses: set[str]) -> None:
    """Of both families; that there is no such name is an answer, for one of them, too."""
    assert succeeded(Lookup(Clock(), NameServer(four, six))("a.test")) == addresses


@pytest.mark.parametrize("error", [DNSServerError(Message()), DNSQueryTimeoutError([])])
def test_half_an_answer(error: Exception) -> None:
    """One question that fails makes the whole lookup fail: half of a name's addresses would look like a change."""
    for server in (NameServer(FOUR, error), NameServer(error, SIX), NameServer(error, DNSNameError(Message()))):
        assert failure_of(Lookup(Clock(), server)("a.test")) is error
