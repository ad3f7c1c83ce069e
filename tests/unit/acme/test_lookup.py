"""Where names lead, as the DNS has it."""

from __future__ import annotations

from twisted.internet.task import Clock

from appliance.acme.lookup import Lookup


def test_nothing_before_the_first_question() -> None:
    """A service that is made and not started, as to check its configuration, leaves no timer behind."""
    clock = Clock()
    Lookup(clock)
    assert clock.getDelayedCalls() == []
