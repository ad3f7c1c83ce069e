"""A program for tests: TLS on the socket with nothing behind it. ``python -m tests.support.tlsserver FOLDER``.

Serves every ``FOLDER/NAME.pem`` for the names in it, and prints ``port N`` once it listens. ``GET /SIZE`` is answered
with so many bytes. SIGHUP reads the certificates again; SIGUSR1 renews the ticket keys. Each ends with a printed line.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import epollreactor
from twisted.internet.protocol import Factory, Protocol

from appliance.tls.certificate import Certificate
from appliance.tls.endpoint import TlsListening
from appliance.tls.snimap import SniMap


class Answering(Protocol):
    """Answers each request, when its head is whole, with as many bytes as its path says."""

    def connectionMade(self) -> None:
        """Nothing received yet."""
        self._head = b""

    def dataReceived(self, data: bytes) -> None:
        """Collect the head."""
        self._head += data
        while b"\n\r\n" in self._head or b"\n\n" in self._head:
            head, _, self._head = self._head.replace(b"\r\n", b"\n").partition(b"\n\n")
            size = int(head.split()[1][1:])
            transport: Any = self.transport
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            if b"Connection: close" in head:
                transport.loseConnection()


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(folder: Path) -> None:
    """Serve until killed."""
    reactor: Any = epollreactor.EPollReactor()
    sni_map = SniMap()

    def load() -> None:
        for path in folder.glob("*.pem"):
            certificate = Certificate.from_pem(path.read_bytes())
            sni_map.swap(path.stem, certificate.names, certificate)

    def on_signal(number: signal.Signals, action: Callable[[], None]) -> None:
        def act() -> None:
            action()
            say(f"{number.name} done")

        signal.signal(number, lambda *_: reactor.callFromThread(act))

    load()
    reactor.callWhenRunning(on_signal, signal.SIGHUP, load)
    reactor.callWhenRunning(on_signal, signal.SIGUSR1, sni_map.rotate_ticket_keys)
    port: Any = TlsListening(reactor, sni_map).listenTCP(0, Factory.forProtocol(Answering), interface="127.0.0.1")
    reactor.callWhenRunning(say, f"port {port.getHost().port}")
    reactor.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
