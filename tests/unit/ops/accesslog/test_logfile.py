"""Files that lines are appended to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from appliance.ops.accesslog.logfile import LogFile
from tests.support.fulldisk import room


def test_appends(tmp_path: Path) -> None:
    """What is there stays; the file is not for everybody."""
    path = tmp_path / "access.log"
    path.write_bytes(b"old\n")
    file = LogFile(path)
    file.write(b"one\n")
    file.write(b"two\n")
    assert path.read_bytes() == b"old\none\ntwo\n"
    file.close()
    file.close()
    path.unlink()
    file.write(b"three\n")
    assert path.read_bytes() == b"three\n"
    assert not stat.S_IMODE(path.stat().st_mode) & 0o007
    assert str(file) == str(path)
    file.close()


def test_moved_away(tmp_path: Path) -> None:
    """Rotation by renaming is noticed with the next write, whether or not there is another file by then."""
    path = tmp_path / "access.log"
    file = LogFile(path)
    file.write(b"one\n")
    path.rename(tmp_path / "access.log.1")
    file.write(b"two\n")
    path.rename(tmp_path / "access.log.2")
    path.touch()
    file.write(b"three\n")
    assert [each.read_bytes() for each in sorted(tmp_path.iterdir())] == [b"three\n", b"one\n", b"two\n"]
    file.close()


def test_reopened_when_told(tmp_path: Path) -> None:
    """The descriptor is a new one after that, whatever the name says."""
    path = tmp_path / "access.log"
    file = LogFile(path)
    file.write(b"one\n")
    keeper = os.open(path, os.O_RDONLY)
    before = file._file
    file.reopen()
    taken = os.dup(keeper)
    file.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    assert before >= 0
    for each in (keeper, taken):
        os.close(each)
    file.close()


def test_full_disk(tmp_path: Path) -> None:
    """What does not fit is refused; a line that was torn does not swallow the next one."""
    path = tmp_path / "access.log"
    file = LogFile(path)
    file.write(b"one\n")
    with room(10):
        with pytest.raises(OSError) as refused:
            file.write(b"two\nthree\nfour\n")
        assert refused.value.errno == errno.EFBIG
        with pytest.raises(OSError):
            file.write(b"five\n")
    file.write(b"six\n")
    file.write(b"seven\n")
    assert path.read_bytes() == b"one\ntwo\nth\nsix\nseven\n"
    file.close()


def test_no_folder(tmp_path: Path) -> None:
    """An error of the disk's, and no more; once there is a folder, lines are written."""
    file = LogFile(tmp_path / "log" / "access.log")
    with pytest.raises(FileNotFoundError):
        file.write(b"one\n")
    (tmp_path / "log").mkdir()
    file.write(b"two\n")
    assert (tmp_path / "log" / "access.log").read_bytes() == b"two\n"
    file.close()


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    """It is not opened, moved or closed."""
    file = LogFile(None)
    file.write(b"one\n")
    file.reopen()
    file.write(b"two\n")
    file.close()
    assert capfd.readouterr().out == "one\ntwo\n"
    assert str(file) == "standard output"


def test_no_room_for_a_single_byte(tmp_path: Path) -> None:
    """Nothing is torn, so the next line needs no new beginning."""
    file = LogFile(tmp_path / "access.log")
    file.write(b"one\n")
    with room(4), pytest.raises(OSError, match="File too large"):
        file.write(b"two\n")
    file.write(b"three\n")
    file.close()
    assert (tmp_path / "access.log").read_bytes() == b"one\nthree\n"


def test_nothing_to_write(tmp_path: Path) -> None:
    """A batch of nothing leaves the file as it is."""
    file = LogFile(tmp_path / "access.log")
    file.write(b"")
    file.close()
    assert (tmp_path / "access.log").read_bytes() == b""
