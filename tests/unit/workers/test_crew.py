"""The crew, with workers that are no processes: what they are told, when they are replaced, what they are together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import textFileLogObserver

from appliance.config import Configuration
from appliance.ops.metrics.counts import Counts
from appliance.ops.metrics.sum import take
from appliance.workers import messages
from appliance.workers.crew import LONGEST_DELAY, PATIENCE, QUICK, AllClients, Crew, Setting
from appliance.workers.member import Figures, Member
from appliance.workers.messages import LogTo, Message, SaidError, hear
from appliance.workers.talk import GoneError, RefusedError

REPORT = {
    "connections": {"http": 1, "https": 2},
    "accepted": {"http": 3, "https": 4},
    "in_flight": 5,
    "refused": 6,
    "lost_lines": 7,
}


class FakeMember(Member):
    """A worker that remembers what it was told, and answers when the test has it answer."""

    def __init__(self, crew: FakeCrew, reactor: Any, reported: Any, ended: Any) -> None:
        super().__init__(reactor, reported, ended)
        self.crew = crew
        self.report = lambda document: reported(self, document)
        self.ends: Callable[[str], None] = lambda how: ended(self, how)
        self.told: list[Message] = []
        self.descriptors: list[int] = []
        self.waiting: list[Deferred[None]] = []
        self.killed = self.closed = False

    def start(self, environment: Mapping[str, str], log: int) -> None:
        if self.crew.broken:
            raise OSError("no more processes")
        self.pid = 100 + len(self.crew.members)
        self.crew.members.append(self)

    def tell(self, message: Message | bytes, descriptors: Sequence[int] = ()) -> Deferred[None]:
        self.told.append(hear(message) if isinstance(message, bytes) else message)
        self.descriptors += descriptors
        answer: Deferred[None] = Deferred()
        self.waiting.append(answer)
        return answer

    def answer(self) -> None:
        """Answer whatever it was told."""
        while self.waiting:
            self.waiting.pop(0).callback(None)

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self.closed = True


class FakeCrew:
    """A crew with what it shares."""

    def __init__(self, size: int = 1, certificates: int = 1) -> None:
        self.clock = Clock()
        self.members: list[FakeMember] = []
        self.broken = False
        self.configuration = Configuration((), workers=size + 1)
        self.closed = frozenset({"closed.test"})
        self.open = {"tcp:80": 10, "tcp:443": 11}
        self.many = certificates
        self.counts = Counts(10)
        setting = Setting(LogTo(textFileLogObserver, "info"), 1, {})
        self.crew = Crew(self.clock, size, setting, lambda *given: FakeMember(self, *given))
        self.crew.attach(self, self.counts)
        self.crew.startService()  # type: ignore[no-untyped-call]
        self.crew.begin()

    def sockets(self) -> Mapping[str, int]:
        return self.open

    def challenges(self) -> Iterable[Message]:
        return [messages.Present("http-01", "one.test", "token", "answer")]

    def certificates(self) -> Iterator[Message]:
        for number in range(self.many):
            yield messages.Swap(f"{number}.test", (), b"")

    @property
    def member(self) -> FakeMember:
        """The newest."""
        return self.members[-1]

    def settle(self) -> None:
        """Have all answer whatever they are told."""
        for _ in range(20):
            for member in self.members:
                member.answer()
            self.clock.advance(0)


def test_what_a_worker_is_told_first() -> None:
    """Its configuration and sockets, then challenges and certificates; it may accept when it knows them all."""
    fake = FakeCrew()
    begin, challenge, certificate, accept = fake.member.told
    assert isinstance(begin, messages.Begin)
    assert begin.configuration == fake.configuration
    assert begin.endpoints == ("tcp:80", "tcp:443")
    assert begin.closed == fake.closed
    assert fake.member.descriptors == [10, 11]
    assert [type(each) for each in (challenge, certificate, accept)] == [
        messages.Present,
        messages.Swap,
        messages.Accept,
    ]
    assert fake.crew.document() == {
        "configured": 2,
        "serving": 1,
        "replaced": 0,
        "processes": [{"pid": 100, "serving": False, "connections": 0}],
    }
    fake.settle()
    document = fake.crew.document()
    assert document is not None
    assert document["serving"] == 2


def test_many_certificates_are_told_by_and_by() -> None:
    """A turn for others in between; what changes meanwhile is told, too."""
    fake = FakeCrew(certificates=450)
    assert sum(isinstance(each, messages.Swap) for each in fake.member.told) == 200
    fake.crew.tell(lambda: messages.Remove("0.test"))
    fake.settle()
    assert sum(isinstance(each, messages.Swap) for each in fake.member.told) == 450
    assert messages.Remove("0.test") in fake.member.told
    assert fake.member.serving


def test_all_are_awaited() -> None:
    """Whoever tells something goes on when the last has done it, or has gone."""
    fake = FakeCrew(3)
    fake.settle()
    first, second, third = fake.members
    done: list[None] = []
    fake.crew.in_step().addCallback(done.append)
    first.answer()
    second.waiting.pop().errback(GoneError("gone"))
    assert done == []
    third.answer()
    assert done == [None]
    assert not any(member.killed for member in fake.members)


def test_whoever_gives_up_waiting() -> None:
    """What was told is told: an order that is given up ends no worker."""
    fake = FakeCrew()
    fake.settle()
    waiting, failures = fake.crew.in_step(), list[object]()
    waiting.addErrback(failures.append)
    waiting.cancel()
    assert len(failures) == 1
    fake.settle()
    assert not fake.member.killed


@pytest.mark.parametrize("how", ["refusal", "silence"])
def test_whoever_cannot_follow_is_ended(how: str) -> None:
    """A refusal, or no answer in time: nobody waits for it, and another takes its place."""
    fake = FakeCrew()
    fake.settle()
    done: list[None] = []
    fake.crew.tell(messages.ReopenLogs).addCallback(done.append)
    if how == "refusal":
        fake.member.waiting.pop().errback(RefusedError("no"))
    else:
        for _ in range(int(PATIENCE) + 1):
            fake.member.report(REPORT)
            fake.clock.advance(1)
    assert done == [None]
    assert fake.member.killed
    fake.member.ends("signal 9")
    fake.clock.advance(0)
    assert len(fake.members) == 2


def test_silence() -> None:
    """A worker that reports nothing hangs: ended. Not so where the main process itself was stopped for long."""
    fake = FakeCrew()
    fake.settle()
    fake.clock.advance(100)
    assert not fake.member.killed
    for _ in range(int(PATIENCE)):
        fake.clock.advance(1)
    assert not fake.member.killed
    fake.clock.advance(1)
    assert fake.member.killed


def test_crashes_one_after_the_other() -> None:
    """At once, then later and later; at once again for one that had served for a while."""
    fake = FakeCrew()
    delays = []
    for _ in range(8):
        fake.member.ends("exit status 1")
        count, began = len(fake.members), fake.clock.seconds()
        fake.clock.advance(0)
        while len(fake.members) == count:
            fake.clock.advance(0.5)
        delays.append(fake.clock.seconds() - began)
    assert delays == [0, 1, 2, 4, 8, 16, LONGEST_DELAY, LONGEST_DELAY]
    fake.clock.advance(QUICK)
    fake.member.ends("signal 11")
    fake.clock.advance(0)
    assert len(fake.members) == 10
    assert fake.crew.replaced == 9


def test_no_process_to_be_had() -> None:
    """It is tried again."""
    fake = FakeCrew()
    fake.broken = True
    fake.member.ends("signal 9")
    fake.clock.advance(0)
    assert len(fake.crew) == 0
    fake.broken = False
    fake.clock.advance(LONGEST_DELAY)
    assert len(fake.crew) == 1


def test_other_listeners() -> None:
    """Only the sockets that are new are passed; to one that comes later, all there are."""
    fake = FakeCrew()
    fake.settle()
    fake.open = {"tcp:80": 10, "tcp:8443": 12}
    fake.crew.change(fake.configuration)
    assert fake.member.told[-1] == messages.Change(fake.configuration, ("tcp:8443",))
    assert fake.member.descriptors == [10, 11, 12]
    fake.member.ends("signal 9")
    fake.open = {"tcp:8443": 12, "unix:/run/one": 13}
    fake.crew.change(fake.configuration)
    fake.clock.advance(0)
    assert fake.member.descriptors == [12, 13]


def test_the_end() -> None:
    """Nobody is replaced or started any more. Who says its last is let go; who does not end in time is killed."""
    fake = FakeCrew(2)
    fake.settle()
    fake.member.ends("signal 9")
    left: list[None] = []
    fake.crew.leave().addCallback(left.append)
    fake.clock.advance(2)
    assert left == [None], "one that hangs is not waited for"
    fake.crew.begin()
    assert len(fake.members) == 2
    first = fake.members[0]
    ended: list[None] = []
    Deferred.fromCoroutine(fake.crew.drain(30)).addCallback(ended.append)
    assert first.told[-1] == messages.Drain(30)
    fake.crew.hurry()
    assert first.told[-1] == messages.Hurry()
    first.report({**REPORT, "end": True})
    assert first.closed
    first.ends("exit status 0")
    assert ended == [None]
    assert fake.crew.replaced == 1
    assert not first.killed


def test_one_that_does_not_end() -> None:
    """It is waited for as long as it was given, and a little more."""
    fake = FakeCrew()
    ended: list[None] = []
    Deferred.fromCoroutine(fake.crew.retire(10)).addCallback(ended.append)
    fake.clock.advance(14)
    assert ended == []
    fake.clock.advance(1)
    assert ended == [None]
    fake.crew.stopService()
    assert fake.member.killed
    fake.member.ends("signal 9")


def test_figures() -> None:
    """What the workers say is added up, and what has ended stays in the sums that only grow."""
    fake = FakeCrew(2)

    class Own:
        accepted = 10
        open = range(20)

    first, second = fake.members
    other = Counts(10)
    other.handshake_completed("TLSv1.3")
    first.report({**REPORT, "counts": take(other)})
    second.report(REPORT)
    crew, https = fake.crew, AllClients(fake.crew, "https", Own())
    assert (https.accepted, len(https.open)) == (18, 24)
    assert (crew.in_flight, crew.refused, crew.lost_lines) == (10, 12, 14)
    first.ends("signal 9")
    assert (https.accepted, len(https.open)) == (18, 22)
    assert (crew.in_flight, crew.refused, crew.lost_lines) == (5, 12, 14)
    assert fake.counts.handshakes == {"TLSv1.3": 1}


@pytest.mark.parametrize(
    "report", [{"in_flight": -1}, {"connections": 1}, {"accepted": {"http": "x"}}, {"counts": {"sites": 1}}]
)
def test_reports_of_no_use(report: dict[str, Any]) -> None:
    """They are refused, which ends whoever sent them."""
    fake = FakeCrew()
    with pytest.raises(SaidError):
        fake.member.report(report)
    assert fake.member.figures in (Figures(), fake.member.figures)


def test_one_process() -> None:
    """A crew of nobody does nothing, and costs nothing."""
    fake = FakeCrew(0)
    done: list[None] = []

    def never() -> Message:
        raise AssertionError("a message is made for nobody")

    fake.crew.tell(never).addCallback(done.append)
    fake.crew.change(fake.configuration).addCallback(done.append)
    fake.crew.leave().addCallback(done.append)
    Deferred.fromCoroutine(fake.crew.drain(1)).addCallback(done.append)
    assert done == [None] * 4
    assert fake.crew.document() is None
    assert fake.clock.getDelayedCalls() == []
