"""A FastAPI application that shows what reached it, and moves bytes both ways. Uvicorn runs it in tests."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

from tests.support.pattern import pieces

app = FastAPI()

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@app.api_route("/echo", methods=METHODS)
@app.api_route("/echo/{rest:path}", methods=METHODS)
async def echo(request: Request) -> JSONResponse:
    """What the application knows of the request: its own URL and client as its server made them out, raw headers."""
    body = await request.body()
    return JSONResponse(
        {
            "method": request.method,
            "url": str(request.url),
            "scheme": request.url.scheme,
            "path": request.scope["path"],
            "raw_path": request.scope["raw_path"].decode("latin-1"),
            "query": request.url.query,
            "client": request.client.host if request.client else None,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw],
            "body": body.decode("latin-1"),
        }
    )


@app.get("/download")
async def download(size: int, chunked: bool = False) -> StreamingResponse:
    """``size`` bytes of the pattern; ``chunked`` leaves the length out."""
    headers = {} if chunked else {"content-length": str(size)}
    return StreamingResponse(pieces(size), media_type="application/octet-stream", headers=headers)


@app.api_route("/upload", methods=["POST", "PUT"])
async def upload(request: Request) -> dict[str, object]:
    """The length and SHA-256 of the body, which is not kept."""
    digest, length = hashlib.sha256(), 0
    async for piece in request.stream():
        digest.update(piece)
        length += len(piece)
    return {"length": length, "sha256": digest.hexdigest()}


begun = 0
"""How many slow answers were."""


@app.get("/slow")
async def slow(seconds: float) -> dict[str, float]:
    """An answer that takes its time."""
    global begun
    begun += 1
    await asyncio.sleep(seconds)
    return {"seconds": seconds}


@app.get("/slow/begun")
async def slow_begun() -> int:
    """How many requests for one have come since the start."""
    return begun


@app.get("/events")
async def events(count: int, interval: float = 0.0) -> StreamingResponse:
    """Server-sent events, one at a time."""

    async def produce() -> AsyncIterator[str]:
        for number in range(count):
            yield f"data: {number}\n\n"
            await asyncio.sleep(interval)

    return StreamingResponse(produce(), media_type="text/event-stream")


@app.get("/broken")
async def broken() -> StreamingResponse:
    """A response that ends in the middle of its body."""

    def produce() -> Iterator[bytes]:
        yield b"x" * 1000
        raise ConnectionAbortedError("on purpose")

    return StreamingResponse(produce(), headers={"content-length": "2000"})


@app.websocket("/ws")
async def ws(socket: WebSocket) -> None:
    """Repeats every text message until the client closes."""
    await socket.accept()
    async for message in socket.iter_text():
        await socket.send_text(message)
