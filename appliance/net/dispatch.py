"""The epoll reactor's turn without a logging context around every event.

Twisted pushes one for each readable or writable descriptor, so that messages of its old logging carry a prefix: two
calls deep in thread-local storage, and a tenth of a small request's whole cost. What is logged here names its site and
source itself. Only descriptors that say ``dispatched_directly`` are served this way, by exactly the steps of
``_doReadOrWrite``; all others, and every event that is not plain writability or plain readability, be it with the
connection's end behind it, go Twisted's way.
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
        reactor.doIteration = _Turn(reactor)  # type: ignore[method-assign]


class _Turn:
    """``EPollReactor.doPoll``, for one reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._poll = reactor._poller.poll
        self._selectables = reactor._selectables
        self._readings = (reactor._POLL_IN, reactor._POLL_IN | EPOLLHUP)
        self._writable = reactor._POLL_OUT
        self._do_read_or_write = reactor._doReadOrWrite

    def __call__(self, timeout: float | None) -> None:
        """Wait ``timeout`` seconds at most (None: for ever) and serve what is ready."""
        get, readings = self._selectables.get, self._readings
        wait = -1 if timeout is None else timeout
        for descriptor, event in self._poll(wait, len(self._selectables)):
            selectable = get(descriptor)
            if selectable is None:  # lost through an event before this one
                continue
            if event in readings and getattr(selectable, "dispatched_directly", False):
                try:
                    why = selectable.doRead()
                except Exception as error:
                    why = _unhandled(selectable, error)
                if why:
                    self._reactor._disconnectSelectable(selectable, why, True)
            elif event == self._writable and getattr(selectable, "dispatched_directly", False):
                try:
                    why = selectable.doWrite()
                except Exception as error:
                    why = _unhandled(selectable, error)
                if why:
                    self._reactor._disconnectSelectable(selectable, why, False)
            else:
                callWithLogger(selectable, self._do_read_or_write, selectable, descriptor, event)


def _unhandled(selectable: Any, error: Exception) -> Exception:
    _log.failure("Unhandled error of {selectable}", selectable=selectable)
    return error
