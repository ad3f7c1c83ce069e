"""Reading files without waiting for disks: what the system has in memory at once, the rest in threads."""

from __future__ import annotations

import os
from collections.abc import Callable

from appliance.net.turn import Turn
from appliance.store import Defer


class Reading:
    """See exchange.Source."""

    def __init__(self, turn: Turn, defer: Defer) -> None:
        """``defer`` calls something in a thread."""
        self._defer = defer
        self.later = turn.at_end

    def read(self, descriptor: int, offset: int, size: int) -> bytes | None:
        """See Source. File systems that cannot tell what is in memory are always asked in a thread."""
        buffer = bytearray(size)
        try:
            length = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
        except OSError:  # EAGAIN, EOPNOTSUPP; any other will be met again
            return None
        return bytes(buffer) if length == size else bytes(memoryview(buffer)[:length])

    def fetch(self, descriptor: int, offset: int, size: int, told: Callable[[bytes], None]) -> None:
        """See Source."""
        reading = self._defer(lambda: os.pread(descriptor, size, offset))
        reading.addErrback(lambda failure: b"").addCallback(told)
