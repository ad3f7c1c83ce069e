"""Work that is carried to its end, whoever is cancelled meanwhile."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import Clock

from appliance.shield import shielded
from tests.support.renewalworld import failure_of, not_yet
from tests.support.renewalworld import succeeded as result_of


class Work:
    """Waits for ``gate``; was it let to?"""

    def __init__(self) -> None:
        self.gate: Deferred[str] = Deferred()
        self.ended = False

    async def do(self) -> str:
        result = await self.gate
        self.ended = True
        return result


@pytest.fixture
def work() -> Work:
    return Work()


def test_left_alone(work: Work) -> None:
    """It is as if there were no shield."""
    waiting = shielded(work.do())
    not_yet(waiting)
    work.gate.callback("done")
    assert result_of(waiting) == "done"
    broken = Work()
    broken.gate.errback(ZeroDivisionError())
    assert isinstance(failure_of(shielded(broken.do())), ZeroDivisionError)


def test_cancelled(work: Work) -> None:
    """However often: the work goes on to its end, and then it is said."""
    waiting = shielded(work.do())
    waiting.cancel()
    waiting.cancel()
    not_yet(waiting)
    assert not work.ended
    work.gate.callback("done")
    assert work.ended
    assert isinstance(failure_of(waiting), CancelledError)


def test_cancelled_and_failed(work: Work) -> None:
    """Whoever was cancelled is told that, and nothing else."""
    waiting = shielded(work.do())
    waiting.cancel()
    work.gate.errback(ZeroDivisionError())
    assert isinstance(failure_of(waiting), CancelledError)


def test_in_a_coroutine(work: Work) -> None:
    """Cancelling, or a time limit of, what awaits it does not reach the work, but ends what would come after."""
    clock, steps = Clock(), []

    async def awaiting() -> None:
        await shielded(work.do())
        steps.append("went on")

    waiting = Deferred.fromCoroutine(awaiting()).addTimeout(5, clock)
    clock.advance(6)
    waiting.cancel()
    not_yet(waiting)
    work.gate.callback("done")
    assert isinstance(failure_of(waiting), TimeoutError)
    assert (work.ended, steps) == (True, [])


def test_too_late(work: Work) -> None:
    """What has ended cannot be cancelled."""
    work.gate.callback("done")
    waiting = shielded(work.do())
    waiting.cancel()
    assert result_of(waiting) == "done"
