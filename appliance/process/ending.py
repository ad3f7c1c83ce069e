"""SIGTERM and SIGINT: the first has the service stop in good order, a second ends it at once. Status 0 either way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.logger import Logger

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_AT_ONCE = 0.5  # seconds: enough to write down what was cut off

_log = Logger()


class Ending:
    """What signals do. ``hurry`` cuts off what stopping waits for; ``end`` leaves the process."""

    def __init__(self, reactor: Any, hurry: Callable[[], None], end: Callable[[int], Any] = os._exit) -> None:
        self._reactor = reactor
        self._hurry = hurry
        self._end = end
        self._signals = 0

    def on_signal(self, number: int, frame: FrameType | None = None) -> None:
        """A signal handler."""
        self._signals += 1
        if self._signals > 2:
            self._end(0)
        self._reactor.callFromThread(self._stop if self._signals == 1 else self._stop_now, signal.Signals(number).name)

    def _stop(self, name: str) -> None:
        _log.info("{name}: stopping; requests in flight are finished, a second signal ends it at once", name=name)
        self._reactor.stop()

    def _stop_now(self, name: str) -> None:
        _log.warn("{name}, again: ending at once", name=name)
        self._reactor.callLater(_AT_ONCE, self._end, 0)
        self._hurry()


def on_signals(reactor: Any, hurry: Callable[[], None]) -> None:
    """Have these signals handled so once ``reactor`` runs, which is when it sets its own handlers."""
    ending = Ending(reactor, hurry)

    def install() -> None:
        for number in SIGNALS:
            signal.signal(number, ending.on_signal)

    reactor.callWhenRunning(install)
