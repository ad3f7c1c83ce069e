"""One WebSocket over TLS, for tests that talk in turn, from one thread or several."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect

from tests.support.slow import trusting

T = TypeVar("T")


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all WebSockets, in a thread of its own.

    Python's ``ssl`` keeps no two threads from one OpenSSL connection, and ``websockets.sync`` reads in one while
    another writes: on a busy machine its opening handshakes were seen to hang, and to end early, without any appliance
    in between.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="websockets", daemon=True).start()
    return loop


def _run(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Its result, within so many seconds; raises what it raises, and TimeoutError."""
    return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), _loop()).result()


class WebSocket:
    """A connection that answers pings and closing by itself. As a context manager it is closed at the end."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: str | bytes, timeout: float = 60) -> None:
        """Text or bytes as one message."""
        _run(self._connection.send(message), timeout)

    def recv(self, timeout: float = 60) -> str | bytes:
        """The next message. Raises ConnectionClosed, and TimeoutError after so many seconds."""
        return _run(self._connection.recv(), timeout)

    def close(self) -> None:
        """Say goodbye, if the other end has not."""
        _run(self._connection.close(), 20)


def open_websocket(port: int, root: bytes, **options: Any) -> WebSocket:
    """``wss://one.test/ws`` on a loopback port; ``options`` as for ``websockets.asyncio.client.connect``."""

    async def opening() -> ClientConnection:
        return await connect("wss://one.test/ws", ssl=trusting(root), sock=place, proxy=None, **options)

    place = socket.create_connection(("127.0.0.1", port))
    try:
        return WebSocket(_run(opening(), 30))
    except BaseException:
        place.close()
        raise
