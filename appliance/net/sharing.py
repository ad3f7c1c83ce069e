"""A listening socket from which several processes accept: each takes a client in its turn.

Linux wakes all who wait for a client, and the fastest takes it: mostly the same one, so that it has all the long-lived
connections while the others woke for nothing. With ``EPOLLEXCLUSIVE`` (epoll_ctl(2)) it wakes only one, the first of a
queue in which the busy are passed over; whoever goes to the queue's end after each client has them take turns.

A process that was woken for a client may end, or stop accepting, before it takes it. Nobody else is woken for this one;
but whoever joins the queue is told who waits. So all join it anew from time to time: `SharedPort.queue_again`.
"""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is extended here)

from __future__ import annotations

from select import EPOLLEXCLUSIVE, EPOLLIN
from typing import TYPE_CHECKING

from twisted.internet.epollreactor import EPollReactor

if TYPE_CHECKING:
    from twisted.internet.tcp import Port as _Port
else:
    _Port = object

AGAIN_SECONDS = 1.0
"""No client waits longer than this for a process that does not come any more."""


class SharedPort(_Port):
    """Put before ``tcp.Port`` or one that extends it."""

    shared = False
    """Whether other processes accept from the same socket. For all other reactors than epoll's that means nothing."""

    def startReading(self) -> None:
        """See ``IReadDescriptor``'s providers."""
        super().startReading()
        self.queue_again()

    def doRead(self) -> None:
        """See ``IReadDescriptor``."""
        super().doRead()
        self.queue_again()

    def queue_again(self) -> None:
        """Let the others go first from now on. Who waits already is taken soon; nothing is done while not accepting."""
        reactor = self.reactor
        if self.shared and isinstance(reactor, EPollReactor) and self.fileno() in reactor._reads:
            reactor._poller.unregister(self.fileno())
            reactor._poller.register(self.fileno(), EPOLLIN | EPOLLEXCLUSIVE)
