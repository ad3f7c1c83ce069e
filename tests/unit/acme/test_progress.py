"""The steps of an attempt."""

from __future__ import annotations

from datetime import UTC, datetime

from appliance.acme.progress import MOST, Moment, Progress, tell_nobody

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_steps_of_the_latest_attempt() -> None:
    """The newest ones, and none of the attempt before."""
    progress = Progress(lambda: NOW)
    assert progress.moments == ()
    progress.begin("why")
    progress.tell("what")
    assert progress.moments == (Moment(NOW, "why"), Moment(NOW, "what"))
    progress.begin("again")
    for number in range(2 * MOST):
        progress.tell(str(number))
    assert len(progress.moments) == MOST
    assert progress.moments[-1].step == str(2 * MOST - 1)
    tell_nobody("anything")
