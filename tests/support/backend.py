"""A small HTTP application in this process, for tests that decide what it does: one thread for each connection."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from appliance.tls.certificate import Certificate

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Backend:
    """Listens on a loopback address or a UNIX socket while used as a context manager; ``say`` is what it answers.

    ``say`` is called with everything that came before and with the request's head; None closes without a word.
    """

    def __init__(
        self,
        say: Callable[[bytes], bytes | None] = lambda request: OK,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: Path | None = None,
        certificate: Certificate | None = None,
        folder: Path | None = None,
        greeting: bytes = b"",
    ) -> None:
        """``greeting`` is sent to everybody who connects. With a ``certificate``, kept in ``folder``, it speaks TLS."""
        self.say = say
        self.requests: list[bytes] = []
        """Heads, with whatever came before the request line."""
        self.connections = 0
        self._greeting = greeting
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            assert folder is not None
            pem = folder / "backend.pem"
            pem.write_bytes(certificate.to_pem())
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(pem)
        self._path = path
        self._place: tuple[str, int] | str = str(path) if path else (host, port)
        self._family = socket.AF_UNIX if path else socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._stopped = False
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port it listens on, or did."""
        assert isinstance(self._place, tuple)
        return self._place[1]

    def start(self) -> Self:
        """Listen, on the same port as before if it did before."""
        self._stopped = False
        self._listening = socket.socket(self._family)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._listening.bind(self._place)
        if isinstance(self._place, tuple):
            self._place = self._listening.getsockname()[:2]
        self._listening.listen(128)
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no more, and close every connection."""
        assert self._listening is not None
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            self._stopped = True
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with self._lock:
                    self._open.add(connection)
                    self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        raw = connection
        try:
            ahead = b""
            connection.sendall(self._greeting)
            if self._tls is not None:
                ahead = _proxy_header(raw)
                connection = self._tls.wrap_socket(raw, server_side=True)
                with self._lock:
                    self._open.add(connection)
                    if self._stopped:  # while the socket changed hands
                        return
            self._answer(connection, ahead)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {raw, connection}
            connection.close()

    def _answer(self, connection: socket.socket, data: bytes) -> None:
        while True:
            while b"\r\n\r\n" not in data.partition(b"HTTP/1.1")[2]:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            self.requests.append(data)
            said = self.say(data)
            if said is None:
                return
            connection.sendall(said)
            data = b""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _proxy_header(connection: socket.socket) -> bytes:
    """The PROXY header, of version 2, that comes before TLS, if there is one.

    It is read by the length that it tells: any byte in it, as of a port, may look like the first of a TLS record.
    """
    if connection.recv(1, socket.MSG_PEEK) in (b"\x16", b""):
        return b""
    fixed = connection.recv(16, socket.MSG_WAITALL)
    return fixed + connection.recv(int.from_bytes(fixed[14:]), socket.MSG_WAITALL)
