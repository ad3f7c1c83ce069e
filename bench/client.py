"""A blocking HTTPS client of a few lines: for checking a contender, and for holding idle connections."""

from __future__ import annotations

import http.client
import socket
import ssl

from bench.credentials import HOST, Credentials
from bench.origin import BODIES
from bench.programs import BenchError

SECONDS = 20.0
"""How long any one step may take."""


def trust(credentials: Credentials) -> ssl.SSLContext:
    """Return a context that verifies the run's certificate and its name, and speaks TLS 1.3 only."""
    context = ssl.create_default_context(cafile=str(credentials.authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Open a verified connection; raises OSError (of which ssl.SSLError is one)."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    try:
        return context.wrap_socket(plain, server_hostname=HOST)
    except BaseException:
        plain.close()
        raise


def get(connection: ssl.SSLSocket, path: str) -> tuple[int, bytes]:
    """Ask once, leave the connection open; returns status and body."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    response = http.client.HTTPResponse(connection, method="GET")
    response.begin()
    return response.status, response.read()


def check(name: str, port: int, context: ssl.SSLContext) -> None:
    """Ask for every body twice over one connection; raises :exc:`BenchError` unless all come right."""
    try:
        with connect(port, context) as connection:
            for path, body in [*BODIES.items()] * 2:
                status, got = get(connection, path)
                if (status, got) != (200, body):
                    raise BenchError(f"{name} answers {path} with {status} and {len(got)} bytes: {got[:200]!r}")
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{name} does not serve over verified TLS 1.3: {error!r}") from error
