"""Many WebSockets in one thread, all of them talking until they are let go; what became of each is kept."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

_PATIENCE = 30.0


class Talks:
    """WebSockets to one site on a loopback port, whose application says everything again."""

    def __init__(self, port: int, name: str, root: bytes, count: int, pause: float = 0.5) -> None:
        self._port = port
        self._name = name
        self._context = ssl.create_default_context(cadata=root.decode("ascii"))
        self._context.set_alpn_protocols(["http/1.1"])
        self._count = count
        self._pause = pause
        self._ended = threading.Event()
        self.open = 0
        """How many have had an answer."""
        self.messages = 0
        self.failures: list[str] = []

    async def _talk(self) -> None:
        place = socket.create_connection(("127.0.0.1", self._port))
        try:
            async with connect(f"wss://{self._name}/ws", ssl=self._context, sock=place, ping_interval=None) as talk:
                first = True
                while not self._ended.is_set():
                    await talk.send("here")
                    answer = await asyncio.wait_for(talk.recv(), _PATIENCE)
                    assert answer == "here", answer
                    self.messages += 1
                    self.open += first
                    first = False
                    await asyncio.sleep(self._pause)
        except (OSError, ConnectionClosed, TimeoutError, AssertionError) as error:
            self.failures.append(repr(error))

    async def _run(self) -> None:
        await asyncio.gather(*[self._talk() for _ in range(self._count)])

    @contextmanager
    def going_on(self) -> Iterator[Talks]:
        """For the length of a with-block."""
        thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join(60)
            assert not thread.is_alive(), "a WebSocket hangs"
