"""What the old and the new process say to each other during an upgrade: a word a line, over a pair of sockets.

======  =====================  ==================================================================
says    word                   means
======  =====================  ==================================================================
helper  ``started PID``        the new process is that one
new     ``prepared``           its configuration is good, its parts are built
old     ``go``                 it renews no more and has let go of the state folder: begin
new     ``serving``            its listeners accept clients
old     ``yours``              it accepts none any more: the service is the new one's
======  =====================  ==================================================================

The old one that has second thoughts ends the new one. Where it ends itself before its time, the new one goes on alone.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import DeferredQueue
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from appliance.errors import ApplianceError

STARTED = "started"
PREPARED = "prepared"
GO = "go"
SERVING = "serving"
YOURS = "yours"


class LinkLostError(ApplianceError):
    """The process at the other end is gone."""


class Link(LineOnlyReceiver):
    """One end."""

    delimiter = b"\n"
    MAX_LENGTH = 64

    def __init__(self) -> None:
        self._heard: DeferredQueue[str | None] = DeferredQueue()

    def lineReceived(self, line: bytes) -> None:
        """See LineOnlyReceiver."""
        self._heard.put(line.decode("ascii", "replace"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See IProtocol."""
        self._heard.put(None)

    def say(self, word: str) -> None:
        """Tell the other end; in vain if that is gone."""
        assert self.transport is not None
        self.transport.write(word.encode("ascii") + b"\n")

    async def hear(self) -> str:
        """The next word. Raises LinkLostError where no other can come."""
        word = await self._heard.get()
        if word is None:
            self._heard.put(None)
            raise LinkLostError("the other process is gone")
        return word

    def close(self) -> None:
        """Say no more."""
        assert self.transport is not None
        self.transport.loseConnection()


def attach(reactor: Any, descriptor: int) -> Link:
    """The link over this socket, which is closed by and by. ``reactor`` provides IReactorSocket."""
    link = Link()
    os.set_blocking(descriptor, False)
    reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, Factory.forProtocol(lambda: link))
    os.close(descriptor)
    return link
