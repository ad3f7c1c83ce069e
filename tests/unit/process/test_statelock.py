"""One process at a time has the state folder."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from twisted.logger import (
    LogEvent,
    capturedLogs,  # type: ignore[attr-defined]
    formatEvent,
)

from appliance.errors import StoreError
from appliance.process.statelock import PATIENCE, StateLock
from tests.support.fulldisk import room

SERVED = "CANNOT BE WRITTEN: {}. Certificates that are stored are served"


@pytest.fixture
def log() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def texts(events: Sequence[LogEvent]) -> str:
    return "\n".join(map(formatEvent, events))


def cannot_write(monkeypatch: pytest.MonkeyPatch, number: int) -> str:
    """Files may be opened to be read only; returns what that is called."""
    really_open = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(number, os.strerror(number))
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    return os.strerror(number)


def test_one_after_the_other(tmp_path: Path) -> None:
    """Who has it is written there; it can be had again when it was let go."""
    first, second = StateLock(tmp_path / "state"), StateLock(tmp_path / "state")
    first.startService()
    lock = tmp_path / "state" / "lock"
    assert int(lock.read_text()) == os.getpid()
    assert lock.stat().st_mode & 0o777 == 0o600
    first.stopService()
    first.stopService()
    second.startService()
    second.stopService()


def test_two(tmp_path: Path) -> None:
    """The second waits a little, then says who has it."""
    slept: list[float] = []
    first, second = StateLock(tmp_path), StateLock(tmp_path, slept.append)
    first.startService()
    with pytest.raises(StoreError, match=f"another appliance, process {os.getpid()}, runs with state_dir"):
        second.startService()
    assert sum(slept) == pytest.approx(PATIENCE)
    (tmp_path / "lock").write_text("")
    with pytest.raises(StoreError, match="process unknown"):
        second.startService()
    first.stopService()


def test_in_time(tmp_path: Path) -> None:
    """One that is about to end is waited for."""
    first = StateLock(tmp_path)
    first.startService()
    second = StateLock(tmp_path, lambda seconds: first.stopService())
    second.startService()
    second.stopService()


def test_no_file_of_ours(tmp_path: Path) -> None:
    """A link to somewhere else is not followed."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot open"):
        StateLock(tmp_path).startService()
    assert not (tmp_path / "elsewhere").exists()


def test_no_room_for_the_number(tmp_path: Path, log: Sequence[LogEvent]) -> None:
    """The lock is had all the same, nobody else gets it, and the log says what is wrong."""
    first, second = StateLock(tmp_path), StateLock(tmp_path, lambda seconds: None)
    with room(0):
        first.startService()
    assert SERVED.format("File too large") in texts(log)
    with pytest.raises(StoreError, match="another appliance, process unknown"):
        second.startService()
    first.stopService()
    second.startService()
    second.stopService()


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Sequence[LogEvent], number: int
) -> None:
    """A file that is there is locked; where there is none, it goes on without, and says so."""
    (tmp_path / "lock").touch()
    first, second = StateLock(tmp_path), StateLock(tmp_path, lambda seconds: None)
    words = cannot_write(monkeypatch, number)
    first.startService()
    assert SERVED.format(words) in texts(log[:1])
    assert len(log) == 1
    with pytest.raises(StoreError, match="another appliance"):
        second.startService()
    first.stopService()
    (tmp_path / "lock").unlink()
    first.startService()
    assert "(No such file or directory): see that no other process uses the folder" in texts(log)
    second.startService()
    first.stopService()
    second.stopService()


def test_no_lock_on_what_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Sequence[LogEvent]) -> None:
    """NFS locks only what can be written: it goes on without; what else goes wrong is an error with the file's name."""
    number = errno.EBADF

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = StateLock(tmp_path)
    lock.startService()
    lock.stopService()
    assert "cannot be locked here" in texts(log)
    number = errno.EIO
    with pytest.raises(StoreError, match=r"cannot lock .*: Input/output error"):
        lock.startService()
