"""Two clocks: timers run on one that nobody sets, certificate dates are compared with the one on the wall."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from twisted.internet.base import ReactorBase


def utc_now() -> datetime:
    """The wall clock, aware, in UTC. Only for dates that come from outside: certificates, what is kept on disk."""
    return datetime.now(UTC)


def make_monotonic(reactor: ReactorBase) -> None:
    """
    Make this reactor's timers run on ``time.monotonic``.

    ``reactor.seconds`` is the wall clock by default: set back, it freezes every timer; set forward, it fires them all.
    Calls that are pending already keep their remaining delay. Calling this twice changes nothing. To be called before
    the reactor runs: a ``LoopingCall.withCount`` that has started would miscount once.
    """
    if reactor.seconds is time.monotonic:
        return
    wall = reactor.seconds()
    pending = [(call, max(0.0, call.getTime() - wall)) for call in reactor.getDelayedCalls()]
    reactor.seconds = time.monotonic
    for call, remaining in pending:
        # One at a time through the public ``reset``, which keeps the reactor's heap in order: cancelled calls stay in
        # that heap unseen, so shifting everything that ``getDelayedCalls`` lists would leave one of them on top.
        call.seconds = time.monotonic  # type: ignore[attr-defined]
        call.reset(remaining)
