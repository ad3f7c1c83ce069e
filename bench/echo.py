"""The WebSocket application behind every proxy, as a program: answers an upgrade, then sends back whatever comes.

Proxies pass frames on as they are, so nobody has to look into them. Prints nothing; ``python echo.py PORT``.
"""

from __future__ import annotations

import selectors
import socket
import sys
from collections.abc import Generator

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
"""The answer to the key in RFC 6455 section 1.3, which is the only one that the load offers."""


def serve(connection: socket.socket) -> Generator[None, None, None]:
    """One connection; goes on whenever there is something to read."""
    head = b""
    while b"\r\n\r\n" not in head:
        yield
        head += connection.recv(65536)
    connection.sendall(ACCEPTED)
    while True:
        yield
        data = connection.recv(65536)
        if not data:
            return
        connection.sendall(data)


def main(port: str) -> None:
    """Serve until killed."""
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=1024)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                steps = serve(connection)
                next(steps)
                selector.register(connection, selectors.EVENT_READ, steps)
                continue
            try:
                next(key.data)
            except (StopIteration, OSError):
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]


if __name__ == "__main__":
    main(sys.argv[1])
