"""One WebSocket over TLS, for tests that talk in turn."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.slow import trusting


def quiet(root: bytes) -> ssl.SSLContext:
    """TLS that trusts ``root`` (PEM), and that says nothing between its handshake and its end: TLS 1.2.

    ``websockets.sync`` reads in one thread and writes in another, and Python's ``ssl`` keeps no two threads from one
    OpenSSL connection. With TLS 1.3 opening handshakes were seen to hang on a busy machine, without any appliance in
    between; with TLS 1.2 not so far. Session tickets, which are read while the first request is written, might be why.
    """
    context = trusting(root)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def open_websocket(port: int, root: bytes, **options: Any) -> ClientConnection:
    """``wss://one.test/ws`` on a loopback port; ``options`` as for ``connect``. To be used as a context manager."""
    place = socket.create_connection(("127.0.0.1", port))
    return connect("wss://one.test/ws", ssl=quiet(root), sock=place, proxy=None, **options)
