"""The end of all clients' connections: in good order, by themselves, or at once."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from appliance.net.draining import Draining


class Clients:
    """Some connections, and what they were asked to do."""

    def __init__(self, count: int) -> None:
        self.open = list(range(count))
        self.asked: list[str] = []
        self._ended: list[Deferred[None]] = []

    def drain(self) -> None:
        self.asked.append("drain")

    def retire(self) -> None:
        self.asked.append("retire")

    def abort(self) -> None:
        self.asked.append("abort")
        self.end()

    def when_empty(self) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        if not self.open:
            ended.callback(None)
        return ended

    def end(self) -> None:
        self.open.clear()
        for ended in self._ended:
            ended.callback(None)


def test_all_end_in_time() -> None:
    """It is over when the last one is."""
    clock, few, none = Clock(), Clients(2), Clients(0)
    draining = Draining(clock, [few, none])
    over = Deferred.fromCoroutine(draining.drain(30))
    assert draining.left == 2
    clock.advance(29)
    assert not over.called
    few.end()
    assert over.called
    assert few.asked == none.asked == ["drain"]
    assert not clock.getDelayedCalls()


def test_some_do_not() -> None:
    """They are cut off."""
    clock, clients = Clock(), Clients(1)
    over = Deferred.fromCoroutine(Draining(clock, [clients]).drain(30))
    clock.advance(30)
    assert over.called
    assert clients.asked == ["drain", "abort"]


def test_in_a_hurry() -> None:
    """A wait is over when everything is cut off."""
    clock, clients = Clock(), Clients(1)
    draining = Draining(clock, [clients])
    over = Deferred.fromCoroutine(draining.drain(30))
    draining.hurry()
    assert over.called
    assert not clock.getDelayedCalls()


def test_retiring() -> None:
    """Connections end by themselves; what is left after a long time is not cut off by this."""
    clock, clients = Clock(), Clients(1)
    over = Deferred.fromCoroutine(Draining(clock, [clients]).retire(3600))
    clock.advance(3600)
    assert over.called
    assert clients.asked == ["retire"]
