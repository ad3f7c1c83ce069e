"""Orders wait for each other's end, or for nobody's."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from appliance.acme.turns import PATIENCE, Turns


class Order:
    """Holds a turn until it is told to end."""

    def __init__(self, turns: Turns) -> None:
        self.begun = False
        self.end: Deferred[None] = Deferred()
        self.done = Deferred.fromCoroutine(self._run(turns))

    async def _run(self, turns: Turns) -> None:
        async with turns.turn():
            self.begun = True
            await self.end


def test_closing() -> None:
    """It is done when the last has ended, or has had its time; nobody else gets a turn before they are opened again."""
    clock = Clock()
    turns = Turns(clock, 2)
    first, second, third = (Order(turns) for _ in range(3))
    closed = turns.close()
    first.end.callback(None)
    assert not third.begun
    assert not closed.called
    clock.advance(PATIENCE)
    assert closed.called
    second.end.callback(None)
    third.done.addErrback(lambda failure: failure.trap(CancelledError) and None)
    third.done.cancel()
    assert turns.close().called
    turns.open()
    fourth, fifth, sixth = (Order(turns) for _ in range(3))
    assert (fourth.begun, fifth.begun, sixth.begun) == (True, True, False)
    fourth.end.callback(None)
    assert sixth.begun
    fifth.end.callback(None)
    sixth.end.callback(None)
    assert clock.getDelayedCalls() == []
