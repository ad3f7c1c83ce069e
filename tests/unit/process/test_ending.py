"""Signals that end the service."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from appliance.process.ending import Ending


class Reactor(Clock):
    """A clock that can be stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = 0

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        call(*arguments)

    def stop(self) -> None:
        self.stopped += 1


def test_signals() -> None:
    """The first stops, the second cuts off and ends a moment later, the third ends where it stands."""
    reactor = Reactor()
    done: list[object] = []
    ending = Ending(reactor, lambda: done.append("hurry"), done.append)
    ending.on_signal(signal.SIGTERM)
    assert reactor.stopped == 1
    assert done == []
    ending.on_signal(signal.SIGINT)
    assert reactor.stopped == 1
    assert done == ["hurry"]
    reactor.advance(1)
    assert done == ["hurry", 0]
    ending.on_signal(signal.SIGTERM)
    assert done[2] == 0
