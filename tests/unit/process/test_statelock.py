"""One process at a time has the state folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.process.statelock import PATIENCE, StateLock


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
