"""One listening socket, several processes: here, several reactors whose pollers wait in threads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from select import EPOLLIN, EPOLLOUT

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure

from appliance.net.immediate import ImmediatePort
from tests.support.processes import wait_for


class Process:
    """As far as the kernel knows, one that accepts from this socket."""

    def __init__(self, listening: socket.socket, shared: bool = True) -> None:
        self.reactor = EPollReactor()
        self.port = ImmediatePort._fromListeningDescriptor(
            self.reactor, listening.fileno(), socket.AF_INET, Factory.forProtocol(Protocol)
        )
        self.port.shared = shared
        self.port.startListening()

    def woken(self, seconds: float) -> bool:
        """Whether there is a client within this time."""
        return any(descriptor == self.port.fileno() for descriptor, _ in self.reactor._poller.poll(seconds))

    def close(self) -> None:
        for selectable in self.reactor.removeAll():
            selectable.connectionLost(Failure(ConnectionAbortedError()))
        self.reactor.waker.connectionLost(Failure(ConnectionAbortedError()))
        self.reactor._poller.close()


class Shop:
    """A socket, and two who accept from it."""

    def __init__(self, opened: ExitStack, shared: bool = True) -> None:
        self._opened = opened
        self.listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.listening.setblocking(False)
        self.processes = [Process(self.listening, shared) for _ in range(2)]
        for each in self.processes:
            opened.callback(each.close)
        self._pool = opened.enter_context(ThreadPoolExecutor(2))

    def client(self) -> list[Process]:
        """Let one come; return who was woken for it. That may be both, if not both were waiting yet."""
        waiting = [self._pool.submit(each.woken, 0.3) for each in self.processes]
        self._opened.enter_context(socket.create_connection(self.listening.getsockname()))
        return [each for each, woken in zip(self.processes, waiting, strict=True) if woken.result()]


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_each_in_its_turn(opened: ExitStack) -> None:
    """One is woken for a client, the other for the next."""
    shop = Shop(opened)

    def take_turns() -> bool:
        rounds = []
        for _ in range(3):
            rounds.append(shop.client())
            rounds[-1][0].port.doRead()
        first, second, third = rounds
        return len(first) == len(second) == len(third) == 1 and first == third != second

    wait_for(take_turns, 20, "turns")


def test_a_client_for_whom_nobody_comes(opened: ExitStack) -> None:
    """Who was woken does not accept. The other does not know of the client, and does when it joins the queue anew."""
    shop = Shop(opened)

    def one_is_woken() -> Process | None:
        woken = shop.client()
        if len(woken) == 1:
            return woken[0]
        woken[0].port.doRead()
        return None

    woken = wait_for(one_is_woken, 20, "one who is woken alone")
    (other,) = (each for each in shop.processes if each is not woken)
    assert not other.woken(0)
    other.port.queue_again()
    assert other.woken(0)
    other.port.doRead()
    assert not woken.woken(0)


def test_not_while_it_does_not_accept(opened: ExitStack) -> None:
    """Whoever reads no more, or is closed, is in no queue."""
    port = Shop(opened).processes[0].port
    port.stopReading()
    port.queue_again()
    assert port not in port.reactor.getReaders()
    port.reactor._poller.register(port.fileno(), EPOLLIN)  # which it could not if it were still there
    port.reactor._poller.unregister(port.fileno())
    port.connectionLost(Failure(ConnectionAbortedError()))
    port.queue_again()


def test_a_process_alone_pays_nothing(opened: ExitStack) -> None:
    """Its socket is registered as Twisted does it: the kernel lets nobody modify what is exclusive."""
    port = Shop(opened, shared=False).processes[0].port
    port.queue_again()
    port.reactor._poller.modify(port.fileno(), EPOLLIN | EPOLLOUT)
    shared = Shop(opened).processes[0].port
    with pytest.raises(OSError, match="Invalid argument"):
        shared.reactor._poller.modify(shared.fileno(), EPOLLIN | EPOLLOUT)


def test_other_reactors(opened: ExitStack) -> None:
    """They have no such queue."""
    reactor = MemoryReactor()
    port = ImmediatePort(0, Factory.forProtocol(Protocol), 5, "127.0.0.1", reactor)
    port.shared = True
    port.startListening()
    opened.callback(port.connectionLost, Failure(ConnectionAbortedError()))
    assert port in reactor.getReaders()
