"""Many keep-alive HTTPS clients in one thread, each asking at its own times; what each of them got is kept."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class Crowd:
    """Clients of one site on a loopback port."""

    def __init__(self, port: int, name: str, root: bytes, target: str = "/echo") -> None:
        self._port = port
        self._name = name
        self._context = ssl.create_default_context(cadata=root.decode("ascii"))
        self._request = f"GET {target} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
        self.answers: Counter[str] = Counter()
        """By status, or by what went wrong instead."""
        self.connections = 0
        """How many connections were opened."""
        self.slowest = 0.0
        """Seconds."""

    async def client(self, pauses: Iterable[float]) -> None:
        """Ask, and ask again after each pause, on one connection for as long as the server keeps it."""
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            for pause in pauses:
                await asyncio.sleep(pause)
                began = time.monotonic()
                try:
                    streams = streams or await self._connect()
                    status, keeps = await asyncio.wait_for(self._ask(*streams), 30)
                    self.answers[status] += 1
                except (OSError, EOFError, TimeoutError) as error:
                    self.answers[f"{type(error).__name__}: {error}"] += 1
                    keeps = False
                self.slowest = max(self.slowest, time.monotonic() - began)
                if not keeps and streams is not None:
                    streams[1].transport.abort()
                    streams = None
        finally:
            if streams is not None:
                streams[1].transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.connections += 1
        return await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, server_hostname=self._name, limit=1 << 20
        )

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, bool]:
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        return head.split(b" ", 2)[1].decode("ascii"), b"connection: close" not in head

    def run(self, schedules: Iterable[Iterable[float]]) -> None:
        """One client for each schedule of pauses; returns when all have ended."""

        async def all_of_them() -> None:
            await asyncio.gather(*[self.client(pauses) for pauses in schedules])

        asyncio.run(all_of_them())

    @contextmanager
    def asking(self, clients: int, per_second: float) -> Iterator[Crowd]:
        """So many clients that together ask so often, for the length of a with-block."""
        ended = threading.Event()
        interval = clients / per_second

        def pauses(number: int) -> Iterator[float]:
            yield interval * number / clients
            while not ended.is_set():
                yield interval

        thread = threading.Thread(target=self.run, args=([pauses(number) for number in range(clients)],), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"


def repeated(times: int, pause: Callable[[], float]) -> list[float]:
    """A schedule: a first request soon, and so many more after pauses."""
    return [pause() / 10, *(pause() for _ in range(times))]
