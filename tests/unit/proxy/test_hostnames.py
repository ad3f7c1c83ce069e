"""Names of upstreams: asked for again, and never waited for when there is an old answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from appliance.proxy.hostnames import AT_ONCE, FRESH, PATIENCE, HostNames

Answer = tuple[tuple[str, ...], str]


class Resolving(Clock):
    """A clock whose name resolver is the test."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nameResolver = self
        self.asked: list[tuple[str, Any]] = []
        self.told: list[Answer] = []
        self.names = HostNames(self)

    def resolveHostName(self, receiver: Any, host: str) -> None:
        receiver.resolutionBegan(None)
        self.asked.append((host, receiver))

    def answer(self, *addresses: str) -> None:
        """Answer the lookup that was begun first."""
        _, receiver = self.asked.pop(0)
        for address in addresses:
            receiver.addressResolved((IPv6Address if ":" in address else IPv4Address)("TCP", address, 0))
        receiver.resolutionComplete()

    def resolve(self, host: str = "app") -> Any:
        """Ask for a name."""
        return self.names.resolve(host, lambda addresses, reason: self.told.append((addresses, reason)))

    def take(self) -> list[Answer]:
        """What was told since the last call."""
        told, self.told = self.told, []
        return told


@pytest.fixture
def clock() -> Resolving:
    return Resolving()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize(
    ("host", "addresses"),
    [("192.0.2.1", ("192.0.2.1",)), ("2001:db8::1", ("2001:db8::1",)), ("localhost", ("127.0.0.1", "::1"))],
)
def test_known_without_asking(clock: Resolving, host: str, addresses: tuple[str, ...]) -> None:
    """Addresses, and the one name that every machine has."""
    clock.resolve(host)
    assert clock.take() == [(addresses, "")]
    assert not clock.asked


def test_one_question_for_all_and_for_a_while(clock: Resolving) -> None:
    """All who wait are told; who asks while the answer is fresh is told at once."""
    clock.resolve()
    clock.resolve()
    assert len(clock.asked) == 1
    assert clock.take() == []
    clock.answer("2001:db8::1", "192.0.2.1", "192.0.2.1")
    both = (("2001:db8::1", "192.0.2.1"), "")
    assert clock.take() == [both, both]
    clock.advance(FRESH - 0.1)
    clock.resolve()
    assert clock.take() == [both]
    assert not clock.asked


def test_asked_again(clock: Resolving) -> None:
    """A new answer is waited for, a little."""
    clock.resolve()
    clock.answer("192.0.2.1")
    clock.advance(FRESH)
    clock.take()
    clock.resolve()
    clock.answer("192.0.2.2")
    assert clock.take() == [(("192.0.2.2",), "")]
    assert not clock.getDelayedCalls()


def test_a_slow_answer(clock: Resolving) -> None:
    """Who has waited long enough gets the old one, and so does who comes while the new one is overdue."""
    clock.resolve()
    clock.answer("192.0.2.1")
    clock.advance(FRESH)
    clock.take()
    clock.resolve()
    clock.advance(PATIENCE)
    assert clock.take() == [(("192.0.2.1",), "")]
    clock.resolve()
    assert clock.take() == [(("192.0.2.1",), "")]
    assert len(clock.asked) == 1
    clock.answer("192.0.2.2")
    clock.resolve()
    assert clock.take() == [(("192.0.2.2",), "")]


def test_no_answer(clock: Resolving, logged: list[str]) -> None:
    """The reason, where there never was one; the last good one, where there was; a line for each change."""
    clock.resolve()
    clock.answer()
    assert clock.take() == [((), "the name app cannot be resolved")]
    clock.resolve()
    clock.answer("192.0.2.1")
    for _ in range(3):
        clock.advance(FRESH)
        clock.resolve()
        clock.answer()
    assert clock.take() == [(("192.0.2.1",), "")] * 4
    clock.advance(FRESH)
    clock.resolve()
    clock.answer("192.0.2.1")
    assert logged == [
        "app can be resolved again",
        "app cannot be resolved any more: its last addresses are used",
        "app can be resolved again",
    ]


def test_a_bounded_number_of_questions(clock: Resolving) -> None:
    """A dead name server holds so many threads and no more; the others have their turn."""
    for number in range(AT_ONCE + 2):
        clock.resolve(f"app{number}")
    assert [host for host, _ in clock.asked] == [f"app{number}" for number in range(AT_ONCE)]
    clock.answer("192.0.2.1")
    assert [host for host, _ in clock.asked] == [f"app{number}" for number in range(1, AT_ONCE + 1)]


def test_taken_back(clock: Resolving) -> None:
    """Who does not want to know any more is not told."""
    forget = clock.resolve()
    clock.resolve()
    forget()
    forget()
    clock.answer("192.0.2.1")
    assert clock.take() == [(("192.0.2.1",), "")]
