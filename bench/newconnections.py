"""A load of full TLS handshakes, as a program: each request has a connection of its own, and no session is resumed.

wrk cannot do this: it offers the last connection's session to the next one. Runs for itself, so that ``OPENSSL_CONF``
can tell its OpenSSL what to offer; prints the line that ``wrk.lua`` prints.

    python newconnections.py PORT SECONDS CONCURRENCY HOST PATH
"""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Generator

STALLED_SECONDS = 10.0
"""How long nothing at all may happen before the run counts as timed out."""

Steps = Generator[int, None, bytes]
"""One request: yields the selector event that it waits for, returns all bytes of the answer."""


class Load:
    """A closed loop: whenever a request ends, the next one begins."""

    def __init__(self, port: int, host: str, path: str) -> None:
        self._port = port
        self._host = host
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
        self._context = ssl.create_default_context()
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE  # the chain is verified before the run; this is load, like wrk's
        self._selector = selectors.DefaultSelector()
        self.requests = 0
        self.bytes = 0
        self.errors: Counter[str] = Counter(connect=0, read=0, write=0, timeout=0, status=0)

    def run(self, seconds: float, concurrency: int) -> float:
        """Ask until the time is over or something goes wrong; returns the seconds it took."""
        begun = time.monotonic()
        for _ in range(concurrency):
            self._begin()
        while (now := time.monotonic()) < begun + seconds and not self.errors.total():
            ready = self._selector.select(STALLED_SECONDS)
            if not ready:
                self.errors["timeout"] += concurrency
            for key, _ in ready:
                self._advance(key.fileobj, key.data)  # type: ignore[arg-type]
        return now - begun

    def _begin(self) -> None:
        plain = socket.socket()
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._context.wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False)
        connection.connect_ex(("127.0.0.1", self._port))
        steps = self._ask(connection)
        self._selector.register(connection, next(steps), steps)

    def _advance(self, connection: ssl.SSLSocket, steps: Steps) -> None:
        try:
            self._selector.modify(connection, next(steps), steps)
            return
        except StopIteration as end:
            self._count(end.value)
        except OSError:
            self.errors["read"] += 1
        self._selector.unregister(connection)
        connection.close()
        self._begin()

    def _count(self, answer: bytes) -> None:
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.errors["status"] += 1
        self.requests += 1
        self.bytes += len(answer)

    def _ask(self, connection: ssl.SSLSocket) -> Steps:
        yield selectors.EVENT_WRITE
        while True:
            try:
                connection.do_handshake()
                break
            except ssl.SSLWantReadError:
                yield selectors.EVENT_READ
        connection.send(self._request)
        answer = b""
        while True:
            try:
                piece = connection.recv(65536)
            except ssl.SSLWantReadError:
                yield selectors.EVENT_READ
                continue
            if not piece:
                return answer
            answer += piece


def main(port: str, seconds: str, concurrency: str, host: str, path: str) -> None:
    """Run and print the result."""
    load = Load(int(port), host, path)
    took = load.run(float(seconds), int(concurrency))
    result = {"requests": load.requests, "microseconds": round(took * 1e6), "bytes": load.bytes, "errors": load.errors}
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
