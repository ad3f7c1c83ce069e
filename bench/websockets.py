"""A load of WebSocket messages, as a program: each connection sends one, waits for it to come back, sends the next.

Runs for itself, so that ``OPENSSL_CONF`` can tell its OpenSSL what to offer; prints the line that ``wrk.lua`` prints,
where a request is a message that passed the proxy: two for each one that came back.

    python websockets.py PORT SECONDS CONCURRENCY HOST PATH
"""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import sys
import time

STALLED_SECONDS = 10.0
PAYLOAD = 125
FRAME = bytes([0x82, 0x80 | PAYLOAD]) + b"mask" + bytes(PAYLOAD)
"""A masked binary message (RFC 6455 section 5.2)."""
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def connect(port: int, host: str, path: str) -> ssl.SSLSocket:
    """Open a WebSocket; raises OSError if it is refused."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the chain is verified before the run; this is load, like wrk's
    plain = socket.create_connection(("127.0.0.1", port), timeout=STALLED_SECONDS)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(plain, server_hostname=host)
    connection.sendall(UPGRADE.format(path=path, host=f"{host}:{port}").encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        if not piece:
            break
        head += piece
    if not head.startswith(b"HTTP/1.1 101 "):
        raise OSError(f"no WebSocket: {head[:80]!r}")
    connection.setblocking(False)
    return connection


def run(port: int, seconds: float, concurrency: int, host: str, path: str) -> dict[str, object]:
    """Send and receive until the time is over or something goes wrong."""
    errors = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}
    messages = received = 0
    selector = selectors.DefaultSelector()
    waiting: dict[ssl.SSLSocket, int] = {}
    for _ in range(concurrency):
        connection = connect(port, host, path)
        selector.register(connection, selectors.EVENT_READ)
        connection.send(FRAME)
        waiting[connection] = len(FRAME)
    begun = time.monotonic()
    while (now := time.monotonic()) < begun + seconds and not any(errors.values()):
        ready = selector.select(STALLED_SECONDS)
        errors["timeout"] += not ready
        for key, _ in ready:
            one: ssl.SSLSocket = key.fileobj  # type: ignore[assignment]
            try:
                data = one.recv(65536)
            except ssl.SSLWantReadError:
                continue
            errors["read"] += not data
            received += len(data)
            waiting[one] -= len(data)
            if waiting[one] == 0:
                messages += 2
                one.send(FRAME)
                waiting[one] = len(FRAME)
    took = round((now - begun) * 1e6)
    return {"requests": messages, "microseconds": took, "bytes": 2 * received, "errors": errors}


if __name__ == "__main__":
    arguments = sys.argv[1:]
    result = run(int(arguments[0]), float(arguments[1]), int(arguments[2]), arguments[3], arguments[4])
    print("RESULT", json.dumps(result))
