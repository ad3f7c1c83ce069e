"""A TLS client over a real socket whose every step the test decides, while a `Loop` runs the server."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from OpenSSL import SSL

from tests.support.loop import Loop

T = TypeVar("T")


class TlsClient:
    """Connects to ``port`` on 127.0.0.1 at once; the handshake waits until `handshake`, or the first use."""

    def __init__(
        self,
        loop: Loop,
        port: int,
        server_name: str | None = "one.example",
        *,
        alpn: tuple[bytes, ...] = (),
        version: int | None = None,
        session: Any = None,
        context: SSL.Context | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self._loop = loop
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        if context is None:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            if version is not None:
                context.set_min_proto_version(version)
                context.set_max_proto_version(version)
            if alpn:
                context.set_alpn_protos(list(alpn))
        self.context = context
        self.tls = SSL.Connection(context, self.socket)
        if server_name is not None:
            self.tls.set_tlsext_host_name(server_name.encode())
        if session is not None:
            self.tls.set_session(session)
        self.tls.set_connect_state()

    def handshake(self) -> TlsClient:
        """Complete the handshake."""
        self._retry(self.tls.do_handshake)
        return self

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        view = memoryview(data)
        while view:
            view = view[self._retry(partial(self.tls.send, view)) :]

    def receive(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        received = bytearray()
        while len(received) < size:
            received += self._retry(partial(self.tls.recv, size - len(received)))
        return bytes(received)

    def receive_all(self) -> bytes:
        """Everything until the server's close_notify; any other end raises ``SSL.Error``."""
        received = bytearray()
        while True:
            try:
                received += self._retry(partial(self.tls.recv, 1 << 16))
            except SSL.ZeroReturnError:
                return bytes(received)

    def reset(self) -> None:
        """Close the socket with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close the socket, without a close_notify."""
        self.socket.close()

    def _retry(self, step: Callable[[], T]) -> T:
        done: list[T] = []

        def attempt() -> bool:
            try:
                done.append(step())
            except (SSL.WantReadError, SSL.WantWriteError):
                return False
            return True

        self._loop.until(attempt, "the client's step")
        return done[0]
