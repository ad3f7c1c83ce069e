"""Waiting until a record is seen: who is waited for, for how long, what is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs  # type: ignore[attr-defined]

from appliance.acme.dns.lookup import Sight, Sighting
from appliance.acme.dns.propagation import SILENT_TIME, wait_until_seen
from appliance.errors import ResponderError

NAME = "_acme-challenge.one.test"


def sightings(**sights: Sight) -> list[Sighting]:
    return [Sighting(server, sight, "why" if sight is Sight.SILENT else "") for server, sight in sights.items()]


class Scene:
    """A clock, and servers that say what the test wants."""

    def __init__(self, *looks: Sequence[Sighting]) -> None:
        self.clock = Clock()
        self.looks = list(looks)
        self.looked = 0
        self.results: list[Any] = []

    async def look(self) -> Sequence[Sighting]:
        self.looked += 1
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def wait(self, timeout: float = 60.0) -> Deferred[None]:
        waiting = Deferred.fromCoroutine(wait_until_seen(self.clock, self.look, NAME, timeout))
        waiting.addBoth(self.results.append)
        return waiting

    def error(self) -> str:
        self.results[0].trap(ResponderError)
        return str(self.results[0].value)


def test_seen_at_once() -> None:
    """Nothing is waited for that is there already."""
    scene = Scene(sightings(a=Sight.THERE, b=Sight.THERE))
    scene.wait()
    assert scene.results == [None]
    assert scene.looked == 1


def test_seen_after_a_while() -> None:
    """The last server decides; the looks become rarer."""
    scene = Scene(*[sightings(a=Sight.THERE, b=Sight.MISSING)] * 5, sightings(a=Sight.THERE, b=Sight.THERE))
    scene.wait()
    assert scene.results == []
    scene.clock.pump([0.5] * 13)
    assert scene.looked == 5
    scene.clock.pump([0.5] * 3)
    assert scene.results == [None]


def test_never_seen() -> None:
    """After the time, the servers that lack it are named, and only these; what to do is said."""
    scene = Scene(sightings(a=Sight.THERE, b=Sight.MISSING, c=Sight.SILENT))
    scene.wait(60)
    scene.clock.pump([1] * 59)
    assert scene.results == []
    scene.clock.pump([1] * 3)
    assert f"the TXT record {NAME} was published, but after 60 s b does not have it" in scene.error()
    assert "propagation_timeout" in scene.error()
    assert "a has it" not in scene.error()
    assert scene.looked < 15


@pytest.mark.parametrize("other", [Sight.THERE, Sight.SILENT])
def test_silent_servers_are_given_up(other: Sight) -> None:
    """One does not answer, or none: this machine may be at fault, so the CA gets to decide; and the log says so."""
    scene = Scene(sightings(a=other, b=Sight.SILENT))
    with capturedLogs() as logs:
        scene.wait()
        scene.clock.pump([1] * int(SILENT_TIME - 1))
        assert scene.results == []
        scene.clock.pump([1] * 10)
    assert scene.results == [None]
    assert "b does not answer (why)" in logs[-1]["silent"]


def test_a_short_time_is_short_for_silent_servers_too() -> None:
    """The configured time goes first."""
    scene = Scene(sightings(a=Sight.SILENT))
    scene.wait(2)
    scene.clock.pump([0.5] * 5)
    assert scene.results == [None]


def test_cancelled() -> None:
    """No timer stays."""
    scene = Scene(sightings(a=Sight.MISSING))
    waiting = scene.wait()
    waiting.cancel()
    assert scene.clock.getDelayedCalls() == []
