"""One worker process, as the main process has it: started, told, listened to, and ended."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from appliance.ops.metrics.sum import FiguresError, whole_numbers
from appliance.workers.messages import Document, Message, SaidError, told
from appliance.workers.talk import MainEnd, attach

LINK, LOG = 3, 4
"""The descriptors that a worker begins with, beside the standard ones."""

LISTENERS = ("http", "https")

_log = Logger()


@define
class Figures:
    """What a worker said of itself last."""

    connections: Mapping[str, int] = field(factory=lambda: dict.fromkeys(LISTENERS, 0))
    """By kind of listener, as for the next."""
    accepted: Mapping[str, int] = field(factory=lambda: dict.fromkeys(LISTENERS, 0))
    in_flight: int = 0
    refused: int = 0
    lost_lines: int = 0


def read_figures(document: Document) -> Figures:
    """From a report. Raises SaidError."""
    try:
        connections, accepted = (
            dict(zip(LISTENERS, whole_numbers(document.get(key) or {}, *LISTENERS), strict=True))
            for key in ("connections", "accepted")
        )
        in_flight, refused, lost = whole_numbers(document, "in_flight", "refused", "lost_lines")
    except (FiguresError, AttributeError) as error:
        raise SaidError(str(error)) from error
    return Figures(connections, accepted, in_flight, refused, lost)


class Member(ProcessProtocol):
    """A worker from its start to its end, which ``ended`` hears of, with how it was."""

    def __init__(
        self, reactor: Any, reported: Callable[[Member, Document], None], ended: Callable[[Member, str], None]
    ) -> None:
        self._ended = ended
        self._reactor = reactor
        self.pid = 0
        """Its number, once it was started."""
        self.figures = Figures()
        self.leaving = False
        """Whether it was told to go."""
        self.serving = False
        """Whether it accepts clients."""
        self.began: float = reactor.seconds()
        self.heard: float = self.began
        """When it was last heard of."""
        self._talk = MainEnd(lambda document: reported(self, document), self._broken)

    def start(self, environment: Mapping[str, str], log: int) -> None:
        """Start it, with its log to go to the descriptor ``log``. Raises OSError."""
        ours, theirs = socket.socketpair()
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            arguments = [sys.executable, "-m", "appliance.workers"]
            descriptors = {0: nothing, 1: 1, 2: 2, LINK: theirs.fileno(), LOG: log}
            process = self._reactor.spawnProcess(
                self, sys.executable, arguments, dict(environment), childFDs=descriptors
            )
            self.pid = process.pid
        except BaseException:
            ours.close()
            raise
        finally:
            os.close(nothing)
            theirs.close()
        attach(self._reactor, ours.detach(), self._talk)

    def tell(self, message: Message | bytes, descriptors: Sequence[int] = ()) -> Deferred[None]:
        """Fire when it has done that; fail with GoneError or RefusedError."""
        return self._talk.tell(message if isinstance(message, bytes) else told(message), descriptors)

    def kill(self) -> None:
        """End it at once."""
        transport: Any = self.transport
        with suppress(ProcessExitedAlready):
            transport.signalProcess("KILL")

    def close(self) -> None:
        """It has said its last: let it end."""
        self._talk.close()

    def processEnded(self, reason: Failure) -> None:
        """See IProcessProtocol."""
        value: Any = reason.value
        how = f"signal {value.signal}" if value.signal is not None else f"exit status {value.exitCode}"
        self._ended(self, how)

    def _broken(self, why: str) -> None:
        _log.error("worker {pid} is ended: {why}", pid=self.pid, why=why)
        self.kill()
