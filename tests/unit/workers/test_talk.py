"""Both ends over a real pair of sockets: order, answers, descriptors, and what happens when one is gone."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from appliance.errors import ApplianceError
from appliance.workers.messages import LONGEST_SAID, Document, SaidError, done, report
from appliance.workers.talk import GoneError, MainEnd, RefusedError, WorkerEnd, attach


class Pair(TestCase):
    """A main process and a worker in one."""

    def setUp(self) -> None:
        """Connect them."""
        self.done: list[tuple[bytes, list[int]]] = []
        self.reports: list[Document] = []
        self.broken: list[str] = []
        self.holding: Deferred[None] | None = None
        self.alone: Deferred[None] = Deferred()
        self.main = MainEnd(self.reports.append, self.broken.append)
        self.worker = WorkerEnd(self.do, lambda: self.alone.callback(None))
        ours, theirs = socket.socketpair()
        attach(reactor, ours.detach(), self.main)
        attach(reactor, theirs.detach(), self.worker)
        self.addCleanup(self.end)

    def end(self) -> Deferred[None]:
        """Disconnect them, if they are not."""
        self.main.close()
        return self.alone

    async def do(self, data: bytes) -> None:
        """What the worker does: ``N…`` takes N descriptors, ``hold`` waits, ``bad`` fails, ``worse`` is a fault."""
        self.done.append((data, self.worker.take(int(data[:1]) if data[:1].isdigit() else 0)))
        if data == b"hold":
            self.holding = Deferred()
            await self.holding
        elif data == b"bad":
            raise ApplianceError("that cannot be done")
        elif data == b"worse":
            raise ZeroDivisionError

    def test_in_order(self) -> Deferred[None]:
        """One after the other, each answered when it is done; reports come in between."""
        return Deferred.fromCoroutine(self._in_order())

    async def _in_order(self) -> None:
        finished: list[str] = []
        first, second = self.main.tell(b"hold"), self.main.tell(b"after")
        first.addCallback(lambda _: finished.append("first"))
        second.addCallback(lambda _: finished.append("second"))
        self.worker.report({"in_flight": 1})
        while self.holding is None or not self.reports:
            await turn()
        assert [data for data, _ in self.done] == [b"hold"]
        assert finished == []
        self.holding.callback(None)
        await second
        assert finished == ["first", "second"]
        assert self.reports == [{"in_flight": 1}]

    def test_refusals(self) -> Deferred[None]:
        """What could not be done is said, and what follows is done all the same."""
        return Deferred.fromCoroutine(self._refusals())

    async def _refusals(self) -> None:
        bad, worse, good = self.main.tell(b"bad"), self.main.tell(b"worse"), self.main.tell(b"good")
        await self.assertFailure(bad, RefusedError)
        refused = await self.assertFailure(worse, RefusedError)
        assert "ZeroDivisionError" in str(refused)
        await good
        (logged,) = self.flushLoggedErrors(ZeroDivisionError)
        assert logged is not None

    def test_descriptors(self) -> Deferred[None]:
        """Each message gets its own, however the kernel cuts the stream."""
        return Deferred.fromCoroutine(self._descriptors())

    async def _descriptors(self) -> None:
        files = [os.memfd_create(name) for name in ("a", "b", "c")]
        telling = [
            self.main.tell(b"none"),
            self.main.tell(b"2 of them", files[:2]),
            self.main.tell(b"none again" * 50_000),
            self.main.tell(b"1 of them", files[2:]),
        ]
        for each in telling:
            await each
        taken = [descriptors for _, descriptors in self.done]
        assert [len(each) for each in taken] == [0, 2, 0, 1]
        for ours, theirs in zip(files, [each for some in taken for each in some], strict=True):
            assert os.path.samestat(os.fstat(ours), os.fstat(theirs))
            assert not os.get_inheritable(theirs)
            os.close(ours)
            os.close(theirs)

    def test_a_worker_that_is_gone(self) -> Deferred[None]:
        """What it had not done yet fails, and so does whatever it is told later."""
        return Deferred.fromCoroutine(self._gone())

    async def _gone(self) -> None:
        telling = self.main.tell(b"hold")
        while self.holding is None:
            await turn()
        transport: Any = self.worker.transport
        transport.loseConnection()
        await self.assertFailure(telling, GoneError)
        await self.assertFailure(self.main.tell(b"more"), GoneError)


def turn() -> Deferred[None]:
    """One turn of the reactor."""
    waiting: Deferred[None] = Deferred()
    untyped: Any = reactor
    untyped.callLater(0, waiting.callback, None)
    return waiting


def heard(*strings: bytes) -> list[str]:
    """What the main process complains of when it hears these."""
    broken: list[str] = []

    def reported(document: Document) -> None:
        if "in_flight" in document:
            raise SaidError("figures of no use")

    end = MainEnd(reported, broken.append)
    end.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    for each in strings:
        end.dataReceived(len(each).to_bytes(4, "big") + each)  # type: ignore[no-untyped-call]
    return broken


def test_a_worker_that_makes_no_sense() -> None:
    """An answer too many, a report or a message of no use: whoever started it is told, and ends it."""
    assert heard(report({})) == []
    assert heard(done()) == ["it answers what nobody asked"]
    assert heard(report({"in_flight": -1})) == ["figures of no use"]
    assert len(heard(b"{")) == 1


def test_a_message_too_long() -> None:
    """It is not waited for."""
    broken: list[str] = []
    end = MainEnd(lambda document: None, broken.append)
    end.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    end.dataReceived((LONGEST_SAID + 1).to_bytes(4, "big"))  # type: ignore[no-untyped-call]
    assert broken == [f"it sends a message of {LONGEST_SAID + 1} bytes"]
