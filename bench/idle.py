"""What an idle TLS connection costs in memory: a fresh proxy, one connection to warm it, then many that stay open."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.client import connect, get, trust
from bench.cpu import memory_bytes
from bench.credentials import Credentials
from bench.programs import BenchError
from bench.proxies import Contender

CONNECTIONS = 500
SETTLE_SECONDS = 1.0
"""Time for a proxy to put away what the last requests needed."""


def idle_connection_bytes(contender: Contender, credentials: Credentials) -> float:
    """Open connections, make one request on each, leave them idle; return what each added to the proxy's memory.

    The proxy must be freshly started: one that has served before fills what it freed and seems to need nothing.
    """
    context = trust(credentials)
    with ExitStack() as stack:
        for opened in range(1 + CONNECTIONS):
            if opened == 1:
                before = _settled_memory(contender)
            connection = stack.enter_context(connect(contender.port, context))
            status, _ = get(connection, "/small")
            if status != 200:
                raise BenchError(f"{contender.name} answers {status} on connection {opened}")
        return (_settled_memory(contender) - before) / CONNECTIONS


def _settled_memory(contender: Contender) -> int:
    time.sleep(SETTLE_SECONDS)
    return memory_bytes(contender.pid)
