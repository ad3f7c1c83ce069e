"""Turns of the epoll reactor without a logging context, one after the other: same deeds, same ends."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from appliance.net.dispatch import dispatch_directly
from appliance.net.immediate import ImmediatePort, ImmediateServer, connect_tcp


class Echo(Protocol):
    """Repeats what it hears; chokes on ``!``."""

    lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        if data == b"!":
            raise ValueError("choked")
        self.transport.write(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        type(self).lost = reason


class Served:
    """An echo server on a reactor of its own, turned by hand."""

    def __init__(self) -> None:
        Echo.lost = None
        self.reactor = EPollReactor()
        dispatch_directly(self.reactor)
        self.port = ImmediatePort(0, Factory.forProtocol(Echo), 5, "127.0.0.1", self.reactor)
        self.port.startListening()
        self.client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        self.client.settimeout(5)

    def turn(self) -> None:
        self.reactor.doIteration(1)

    def close(self) -> None:
        self.client.close()
        for selectable in self.reactor.removeAll():
            if selectable is not self.reactor.waker:
                selectable.connectionLost(Failure(ConnectionAbortedError()))
        self.reactor.waker.connectionLost(Failure(ConnectionAbortedError()))
        self.reactor._poller.close()


@pytest.fixture
def served():
    served = Served()
    yield served
    served.close()


def test_data_is_delivered_and_answered(served: Served) -> None:
    """Accepting goes Twisted's way, the connection ours."""
    served.turn()
    served.client.sendall(b"hello")
    served.turn()
    assert served.client.recv(5) == b"hello"


def test_an_error_is_logged_and_ends_only_that_connection(served: Served) -> None:
    """As in Twisted: the protocol is told its own exception."""
    served.turn()
    served.client.sendall(b"!")
    seen: list[LogEvent] = []
    globalLogPublisher.addObserver(seen.append)
    try:
        served.turn()
    finally:
        globalLogPublisher.removeObserver(seen.append)
    assert [event["log_failure"].type for event in seen] == [ValueError]
    assert Echo.lost is not None
    assert Echo.lost.check(ValueError)
    assert served.client.recv(1) == b""


def test_the_end_of_a_connection_is_told(served: Served) -> None:
    """A client's close arrives as such."""
    served.turn()
    served.client.close()
    served.turn()
    assert Echo.lost is not None


def test_what_came_before_the_end_is_delivered(served: Served) -> None:
    """An event that tells of data and of the end of both halves is a read first, without a logging context, too."""
    served.turn()
    served.client.sendall(b"last words")
    (transport,) = [each for each in served.reactor.getReaders() if isinstance(each, ImmediateServer)]
    served.client.shutdown(socket.SHUT_WR)
    transport.socket.shutdown(socket.SHUT_WR)
    contexts: list[object] = []
    transport.write = lambda data: None  # type: ignore[method-assign]
    transport.logPrefix = lambda: contexts.append(1) or ""  # type: ignore[func-returns-value,method-assign]
    served.turn()
    assert Echo.lost is None
    served.turn()
    assert Echo.lost is not None
    assert not contexts


def test_a_full_socket_is_written_to_when_it_has_room(served: Served) -> None:
    """Writability is dispatched directly too."""
    served.turn()
    data = bytes(4 * 1024 * 1024)
    served.client.setblocking(False)
    sent = received = 0
    while received < len(data):
        if sent < len(data):
            with contextlib.suppress(BlockingIOError):
                sent += served.client.send(data[sent:])
        served.reactor.doIteration(0.01)
        with contextlib.suppress(BlockingIOError):
            received += len(served.client.recv(1 << 20))
    assert received == len(data)


class Pinger(Protocol):
    """Says something again whenever it is repeated; does ``step`` first, with how often that was."""

    def __init__(self, step: Callable[[int], object]) -> None:
        self.step = step
        self.heard = 0

    def connectionMade(self) -> None:
        self.transport.write(b"ping")

    def dataReceived(self, data: bytes) -> None:
        self.heard += 1
        self.step(self.heard)
        self.transport.write(b"ping")


class Running(Served):
    """The same, running until somebody stops it, with a client that never falls silent."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0
        """How often the main loop looked for something else to do."""
        self.late = False
        run_until_current = self.reactor.runUntilCurrent

        def count() -> None:
            self.rounds += 1
            run_until_current()

        self.reactor.runUntilCurrent = count  # type: ignore[method-assign]

    def run(self, step: Callable[[int], object]) -> None:
        """Until the reactor is stopped; ``late`` if that had to be done from here."""

        def give_up() -> None:
            self.late = True
            self.reactor.stop()

        given_up = self.reactor.callLater(20, give_up)
        connect_tcp(self.reactor, "127.0.0.1", self.port.getHost().port, _Once(step))
        self.reactor.run(installSignalHandlers=False)
        if given_up.active():
            given_up.cancel()


class _Once(ClientFactory):
    """For one `Pinger`."""

    noisy = False

    def __init__(self, step: Callable[[int], object]) -> None:
        self.step = step

    def buildProtocol(self, addr: object) -> Pinger:
        return Pinger(self.step)


@pytest.fixture
def running():
    running = Running()
    yield running
    running.close()


def test_turn_follows_turn(running: Running) -> None:
    """While there is nothing else to do, the main loop is not gone through; to be stopped is something else."""
    running.run(lambda heard: heard == 1000 and running.reactor.stop())
    assert not running.late
    assert running.rounds < 100


def test_timed_calls_are_on_time(running: Running) -> None:
    """However busy the connections are; so is one that somebody adds meanwhile."""
    called: list[int] = []

    def step(heard: int) -> None:
        if heard == 100:
            running.reactor.callLater(0, called.append, 1)
        if called:
            called.clear()
            running.reactor.callLater(0.05, running.reactor.stop)

    running.run(step)
    assert not running.late


def test_threads_are_heard(running: Running) -> None:
    """A call from a thread is made, however busy the connections are."""
    threads: list[threading.Thread] = []

    def step(heard: int) -> None:
        if heard == 100:
            threads.append(threading.Thread(target=running.reactor.callFromThread, args=(running.reactor.stop,)))
            threads[0].start()

    running.run(step)
    threads[0].join()
    assert not running.late


def test_other_reactors_are_left_alone() -> None:
    """What is not epoll's reactor keeps its own turn."""
    clock = Clock()
    dispatch_directly(clock)
    assert not hasattr(clock, "doIteration")
