"""Reading what is in memory at once, and the rest in threads."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from appliance.files.reading import Reading
from appliance.net.turn import Turn
from tests.support.folders import Threads


def test_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces, the last of them, and nothing after the end; None where the system would have to wait."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    threads = Threads()
    clock = Clock()
    reading = Reading(Turn(clock), threads.defer)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert reading.read(descriptor, 2, 3) == b"234"
        assert reading.read(descriptor, 8, 5) == b"89"
        assert reading.read(descriptor, 10, 5) == b""
        told: list[bytes] = []
        reading.fetch(descriptor, 2, 3, told.append)
        reading.fetch(-1, 2, 3, told.append)
        threads.work()
        threads.work()
        assert told == [b"234", b""]

        def wait(*arguments: object) -> int:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        monkeypatch.setattr(os, "preadv", wait)
        assert reading.read(descriptor, 2, 3) is None
    finally:
        os.close(descriptor)
    called: list[int] = []
    reading.later(lambda: called.append(1))
    clock.advance(0)
    assert called == [1]
