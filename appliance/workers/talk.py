"""Both ends of what connects the main process with a worker: messages over a pair of UNIX sockets, with descriptors."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is touched here)

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.errors import ApplianceError
from appliance.workers.messages import LONGEST_SAID, LONGEST_TOLD, Document, SaidError, done, report, said

_log = Logger()


class GoneError(ApplianceError):
    """The worker ended before it had done what it was told."""


class RefusedError(ApplianceError):
    """The worker could not do what it was told: says why."""


class MainEnd(Int32StringReceiver):
    """The main process's: tells, and hears answers in the same order."""

    MAX_LENGTH = LONGEST_SAID

    def __init__(self, reported: Callable[[Document], None], broken: Callable[[str], None]) -> None:
        """``reported`` gets reports, and may raise SaidError; ``broken`` hears why it makes no sense."""
        self._reported = reported
        self._broken = broken
        self._waiting: deque[Deferred[None]] = deque()
        self._gone = False

    def tell(self, message: bytes, descriptors: Sequence[int] = ()) -> Deferred[None]:
        """Fire when the worker has done it; fail with GoneError or RefusedError."""
        if self._gone:
            return fail(GoneError("the worker is gone"))
        transport: Any = self.transport
        for descriptor in descriptors:
            transport.sendFileDescriptor(descriptor)
        self.sendString(message)
        answer: Deferred[None] = Deferred()
        self._waiting.append(answer)
        return answer

    def close(self) -> None:
        """Say no more."""
        transport: Any = self.transport
        transport.loseConnection()

    def stringReceived(self, data: bytes) -> None:
        """See Int32StringReceiver."""
        try:
            problem, document = said(data)
            if problem is None:
                self._reported(document)
                return
            if not self._waiting:
                raise SaidError("it answers what nobody asked")
        except SaidError as error:
            self._broken(str(error))
            return
        answer = self._waiting.popleft()
        if problem:
            answer.errback(RefusedError(problem))
        else:
            answer.callback(None)

    def lengthLimitExceeded(self, length: int) -> None:
        """See Int32StringReceiver."""
        self._broken(f"it sends a message of {length} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self._gone = True
        while self._waiting:
            self._waiting.popleft().errback(GoneError("the worker is gone"))


@implementer(IFileDescriptorReceiver)
class WorkerEnd(Int32StringReceiver):
    """The worker's: has what it hears done, one after the other, and says so."""

    MAX_LENGTH = LONGEST_TOLD

    def __init__(self, do: Callable[[bytes], Awaitable[None]], alone: Callable[[], None]) -> None:
        """``do`` gets one message after the other; ``alone`` is called when the main process is gone."""
        self._do = do
        self._alone = alone
        self._descriptors: deque[int] = deque()
        self._heard: deque[bytes] = deque()
        self._busy = False

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """See IFileDescriptorReceiver."""
        os.set_inheritable(descriptor, False)
        self._descriptors.append(descriptor)

    def take(self, count: int) -> list[int]:
        """The descriptors that came with a message. Each message takes its own: the kernel may deliver them sooner."""
        return [self._descriptors.popleft() for _ in range(count)]

    def stringReceived(self, data: bytes) -> None:
        """See Int32StringReceiver."""
        self._heard.append(data)
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._work()).addErrback(lambda failure: _log.failure("unexpected error", failure))

    async def _work(self) -> None:
        while self._heard:
            problem = ""
            try:
                await self._do(self._heard.popleft())
            except ApplianceError as error:
                problem = str(error) or repr(error)
            except Exception as error:
                _log.failure("unexpected error in a worker")
                problem = repr(error)
            self.sendString(done(problem))
        self._busy = False

    def report(self, document: Document) -> None:
        """Say how things are."""
        self.sendString(report(document))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self._alone()


def attach(reactor: Any, descriptor: int, protocol: Any) -> None:
    """Have ``protocol`` talk over this socket, which is closed by and by. ``reactor`` provides IReactorSocket."""
    os.set_blocking(descriptor, False)
    reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, Factory.forProtocol(lambda: protocol))
    os.close(descriptor)
