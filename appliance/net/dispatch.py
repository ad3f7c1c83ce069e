"""The epoll reactor's turns without a logging context around every event, and without what is for timed calls only.

Twisted pushes one for each readable or writable descriptor, so that messages of its old logging carry a prefix: two
calls deep in thread-local storage, and a tenth of a small request's whole cost. What is logged here names its site and
source itself. Only descriptors that say ``dispatched_directly`` are served this way, by exactly the steps of
``_doReadOrWrite``; all others, and every event that is not plain writability or plain readability, be it with the
connection's end behind it, go Twisted's way.

Between two turns Twisted's main loop looks for calls of threads and timed calls, twice, and at the clock, twice. While
there are none due, the next turn follows at once.
"""

from __future__ import annotations

from select import EPOLLHUP
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger
from twisted.python.log import callWithLogger

_log = Logger()


def dispatch_directly(reactor: Any) -> None:
    """Have ``reactor`` take its turns this way from now on; any other reactor than epoll's is left as it is."""
    if type(reactor) is EPollReactor:
        reactor.doIteration = _Turns(reactor)  # type: ignore[method-assign]


_LONG = 3600.0
"""Seconds; for longer waits Twisted knows what ``epoll_wait`` cannot."""


class _Turns:
    """``EPollReactor.doPoll``, for one reactor, once or more often."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._poll = reactor._poller.poll
        self._selectables = reactor._selectables
        self._readings = (reactor._POLL_IN, reactor._POLL_IN | EPOLLHUP)
        self._writable = reactor._POLL_OUT
        self._do_read_or_write = reactor._doReadOrWrite
        self._seconds = reactor.seconds

    def __call__(self, timeout: float | None) -> None:
        """Wait ``timeout`` seconds at most (None: for ever) and serve what is ready, until there is more to do."""
        get, readings, reactor = self._selectables.get, self._readings, self._reactor
        wait = -1 if timeout is None else timeout
        while True:
            for descriptor, event in self._poll(wait, len(self._selectables)):
                selectable = get(descriptor)
                if selectable is None:  # lost through an event before this one
                    continue
                reading = event in readings
                if (reading or event == self._writable) and getattr(selectable, "dispatched_directly", False):
                    try:
                        why = selectable.doRead() if reading else selectable.doWrite()
                    except Exception as error:
                        _log.failure("Unhandled error of {selectable}", selectable=selectable)
                        why = error
                    if why:
                        reactor._disconnectSelectable(selectable, why, reading)
                else:
                    callWithLogger(selectable, self._do_read_or_write, selectable, descriptor, event)
            calls = reactor._pendingTimedCalls
            if (
                not calls
                or reactor._newTimedCalls
                or reactor.threadCallQueue
                or reactor._justStopped
                or not reactor.running
            ):
                return
            wait = calls[0].time - self._seconds()
            if not 0.0 < wait < _LONG:
                return
