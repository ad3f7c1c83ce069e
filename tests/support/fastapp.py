"""An application that costs next to nothing, as a program: ``python -m tests.support.fastapp PORT``.

Every request gets the same answer; requests with a body do not occur. ``/ws`` on the port after it repeats messages.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

from tests.support.processes import Program, free_ports

ROOT = Path(__file__).parents[2]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"


class FastApplication(Program):
    """The program, for tests."""

    def __init__(self, folder: Path) -> None:
        self.port, self.websocket_port = free_ports(2)
        arguments = [sys.executable, "-m", __name__, str(self.port), str(self.websocket_port)]
        super().__init__(arguments, folder / "fastapp.log", folder=ROOT)

    def __enter__(self) -> FastApplication:
        self.start()
        self.wait_for_port(self.port)
        self.wait_for_port(self.websocket_port)
        return self


class _Answering(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER * data.count(b"\r\n\r\n"))


async def _repeat(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _main(port: int, websocket_port: int) -> None:
    answering = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", port)
    async with answering, serve(_repeat, "127.0.0.1", websocket_port, compression=None):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
