"""How much a transport still has to send."""

from __future__ import annotations

import socket
from contextlib import closing, suppress

from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport

from appliance.http.flow import unsent
from tests.support.processes import wait_for


def connection(end: socket.socket) -> Connection:
    """Twisted's transport for a socket, with a reactor that never turns."""
    made = Connection(end, None, MemoryReactorClock())  # type: ignore[arg-type]
    made.connected = 1
    return made


def test_unknown() -> None:
    """A transport that does not say has nothing to send."""
    assert unsent(StringTransport()) == 0


def test_queued() -> None:
    """What was written and not sent counts, the part already sent does not."""
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        transport = connection(ours)
        assert unsent(transport) == 0
        transport.write(b"x" * 100)
        assert unsent(transport) == 100
        transport.dataBuffer, transport.offset = b"y" * 50, 20
        assert unsent(transport) == 130


def test_in_the_kernel() -> None:
    """What the kernel took and the peer's did not counts too: it shrinks as the peer reads."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    with closing(ours), closing(theirs):
        transport = connection(ours)
        with suppress(BlockingIOError):
            while True:
                ours.send(b"x" * 65536)
        before = unsent(transport)
        assert before > 0
        theirs.setblocking(False)

        def read_some() -> bool:
            with suppress(BlockingIOError):
                theirs.recv(1 << 20)
            return unsent(transport) < before

        wait_for(read_some)


def test_closed() -> None:
    """A closed socket has nothing to send any more."""
    ours, theirs = socket.socketpair()
    transport = connection(ours)
    ours.close()
    theirs.close()
    assert unsent(transport) == 0
