"""A grpcio server of bytes, all four kinds of calls: ``python -m tests.support.grpc_app PORT [PEM]``.

With a file of key and certificates it speaks TLS.

Metadata that a client sends under ``x-echo`` comes back in the trailers.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

begun = threading.Semaphore(0)
"""Released once for each call of ``wait``."""
ended = threading.Semaphore(0)
"""Released once for each call of ``wait`` that was cancelled."""


def _echo_metadata(context: Any) -> None:
    context.set_trailing_metadata([pair for pair in context.invocation_metadata() if pair[0].startswith("x-echo")])


def unary(request: bytes, context: Any) -> bytes:
    """The message back."""
    _echo_metadata(context)
    return request


def collect(requests: Iterator[bytes], context: Any) -> bytes:
    """How many messages came, and how many bytes."""
    sizes = [len(request) for request in requests]
    return b"%d %d" % (len(sizes), sum(sizes))


def produce(request: bytes, context: Any) -> Iterator[bytes]:
    """``COUNT SIZE``: so many messages of that size."""
    _echo_metadata(context)
    count, size = map(int, request.split())
    for number in range(count):
        yield bytes([number % 256]) * size


def talk(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    """Each message back, as it comes."""
    yield from requests


def refuse(request: bytes, context: Any) -> bytes:
    """An error: a response of trailers only."""
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: ünmöglich")
    raise AssertionError


def wait(request: bytes, context: Any) -> bytes:
    """Until the client goes away."""
    begun.release()
    over = threading.Event()
    if not context.add_callback(over.set):
        over.set()
    over.wait(30)
    ended.release()
    return b""


def waits(request: bytes, context: Any) -> bytes:
    """Whether, within ten seconds, somebody has begun to wait."""
    return b"yes" if begun.acquire(timeout=10) else b"no"


def waited(request: bytes, context: Any) -> bytes:
    """Whether, within ten seconds, one who waited has been told that the client is gone."""
    return b"yes" if ended.acquire(timeout=10) else b"no"


def break_off(request: bytes, context: Any) -> Iterator[bytes]:
    """One message, and then the call is cancelled by this side."""
    yield b"first"
    time.sleep(0.1)
    context.cancel()
    time.sleep(0.5)
    yield b"never"


HANDLERS = {
    "unary": grpc.unary_unary_rpc_method_handler(unary),
    "collect": grpc.stream_unary_rpc_method_handler(collect),
    "produce": grpc.unary_stream_rpc_method_handler(produce),
    "talk": grpc.stream_stream_rpc_method_handler(talk),
    "refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "wait": grpc.unary_unary_rpc_method_handler(wait),
    "waits": grpc.unary_unary_rpc_method_handler(waits),
    "waited": grpc.unary_unary_rpc_method_handler(waited),
    "break_off": grpc.unary_stream_rpc_method_handler(break_off),
}


def main(port: str, pem: str = "") -> None:
    """Serve until killed."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(32), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", HANDLERS),))
    if pem:
        content = Path(pem).read_bytes()
        server.add_secure_port(f"localhost:{port}", grpc.ssl_server_credentials([(content, content)]))
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
