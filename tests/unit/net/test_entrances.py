"""Listeners are opened and closed while others go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from twisted.internet.defer import succeed
from twisted.internet.error import CannotListenError

from appliance.errors import ListenError
from appliance.net.entrances import Entrance
from appliance.net.listener import ClientFactory


class Port:
    """An open port."""

    def __init__(self, listening: Listening, port: int) -> None:
        self._listening = listening
        self._port = port

    def stopListening(self) -> None:
        """See IListeningPort."""
        self._listening.open.remove(self._port)


class Listening:
    """Stands for the reactor; every port can be had once."""

    def __init__(self) -> None:
        self.open: list[int] = []

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> Port:
        """See IReactorTCP."""
        if port in self.open:
            raise CannotListenError(interface, port, OSError(98, "in use"))  # type: ignore[no-untyped-call]
        self.open.append(port)
        return Port(self, port)


@pytest.fixture
def listening() -> Listening:
    return Listening()


@pytest.fixture
def entrance(listening: Listening) -> Iterator[Entrance]:
    """One that runs with two listeners."""
    made = Entrance(listening, cast(ClientFactory, object()), lambda: succeed(None))
    made.apply(made.prepare(["tcp:1", "tcp:2"]))
    assert listening.open == []
    made.startService()
    assert listening.open == [1, 2]
    yield made
    made.stopService()
    assert listening.open == []


def test_what_is_new_is_opened_before_what_goes_is_closed(entrance: Entrance, listening: Listening) -> None:
    """What stays is the same object."""
    stays = entrance.listeners[1]
    prepared = entrance.prepare(["tcp:3", "tcp:2"])
    assert listening.open == [1, 2, 3]
    entrance.apply(prepared)
    assert listening.open == [2, 3]
    assert entrance.listeners[1] is stays


def test_nothing_comes_of_it(entrance: Entrance, listening: Listening) -> None:
    """What was opened is closed, and nothing else."""
    before = entrance.listeners
    entrance.discard(entrance.prepare(["tcp:3", "tcp:4", "tcp:1"]))
    assert listening.open == [1, 2]
    assert entrance.listeners == before


def test_one_cannot_be_opened(entrance: Entrance, listening: Listening) -> None:
    """Then those before it are closed again."""
    listening.open.append(4)
    with pytest.raises(ListenError, match=r"cannot listen on tcp:4: .* itself, for tcp:2, this"):
        entrance.prepare(["tcp:3", "tcp:4", "tcp:1"])
    assert listening.open == [1, 2, 4]
    with pytest.raises(ListenError) as refused:
        entrance.prepare(["tcp:1", "tcp:2", "tcp:4"])
    assert "the appliance itself" not in str(refused.value)
    listening.open.remove(4)


def test_one_that_cannot_even_be_tried(entrance: Entrance, listening: Listening) -> None:
    """A descriptor that systemd did not pass on."""
    with pytest.raises(ListenError, match="systemd has passed no such socket"):
        entrance.prepare(["tcp:3", "systemd:domain=INET:name=nothing"])
    assert listening.open == [1, 2]


def test_a_port_that_cannot_be_closed(entrance: Entrance, listening: Listening, monkeypatch: Any) -> None:
    """It is logged, and the others are what they are to be."""

    def fail(port: Port) -> None:
        listening.open.remove(port._port)
        raise OSError("no")

    monkeypatch.setattr(Port, "stopListening", fail)
    entrance.apply(entrance.prepare(["tcp:2"]))
    assert [each.endpoint for each in entrance.listeners] == ["tcp:2"]
    assert listening.open == [2]
