"""Clients that take their time: plain sockets and TLS ones, by the thousand if need be."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self


def allow_descriptors(count: int) -> None:
    """Have so many file descriptors at least, in this process and those it starts. Raises ValueError if it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Client:
    """One connection, with or without TLS, and when it ended."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, name: str = "one.test") -> None:
        self.began = time.monotonic()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=name)
        self.began_waiting = time.monotonic()
        self.socket.setblocking(False)
        self.received = b""
        self.ended: float | None = None
        """When the server ended it, by the monotonic clock."""

    def send(self, data: bytes) -> None:
        """Send a few bytes; that the other end is gone already is for `look` to find out."""
        with contextlib.suppress(OSError):
            self.socket.send(data)

    def look(self) -> None:
        """Read what there is."""
        try:
            while data := self.socket.recv(65536):
                self.received += data
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            pass
        self.ended = time.monotonic()
        self.socket.close()

    @property
    def status(self) -> int:
        """What it was answered; 0 for nothing."""
        return int(self.received.split()[1]) if self.received.startswith(b"HTTP/1.1 ") else 0

    def close(self) -> None:
        """End it from this side."""
        self.socket.close()


class Clients:
    """Many of them. A with-block closes what is left."""

    def __init__(self) -> None:
        self.all: list[Client] = []
        self._selector = selectors.DefaultSelector()

    def add(self, *clients: Client) -> None:
        """These too."""
        for client in clients:
            self.all.append(client)
            self._selector.register(client.socket, selectors.EVENT_READ, client)

    def open(self, count: int, make: Callable[[], Client]) -> list[Client]:
        """So many more, a few at a time."""
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: make(), range(count)))
        self.add(*made)
        return made

    @property
    def standing(self) -> list[Client]:
        """Those that the server has not ended."""
        return [client for client in self.all if client.ended is None]

    def watch(self, seconds: float, every: float = 1.0, act: Callable[[], Any] = lambda: None) -> None:
        """Look at them for so long, or until all have ended; ``act`` is called every so often."""
        end = time.monotonic() + seconds
        due = time.monotonic() + every
        while time.monotonic() < end and self._selector.get_map():
            for key, _ in self._selector.select(min(0.05, every)):
                client: Client = key.data
                descriptor = key.fileobj
                client.look()
                if client.ended is not None:
                    self._selector.unregister(descriptor)
            if time.monotonic() >= due:
                due += every
                act()

    def close(self) -> None:
        """End them all."""
        for client in self.all:
            client.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def trusting(root: bytes) -> ssl.SSLContext:
    """TLS that trusts ``root`` (PEM) and nothing else, one context for all connections."""
    context = ssl.create_default_context(cadata=root.decode("ascii"))
    context.set_alpn_protocols(["http/1.1"])
    return context
