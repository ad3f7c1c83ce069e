"""Small files that are whole or not there."""

import errno
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance import atomicfile
from appliance.errors import StoreError

NOW = datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC)
STEPS = ("open", "fchmod", "write", "fsync", "rename")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def fail_at(monkeypatch: pytest.MonkeyPatch, step: str, nth: int, error: int) -> None:
    """Let the nth call of ``os.STEP`` fail."""
    real: Callable[..., object] = getattr(os, step)
    calls = 0

    def wrapper(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(error, os.strerror(error))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, step, wrapper)


def count_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> int:
    """How often one write that keeps the previous generation calls ``os.STEP``."""
    path = tmp_path / "count"
    path.write_bytes(b"old")
    real: Callable[..., object] = getattr(os, step)
    calls = []
    with monkeypatch.context() as patch:
        patch.setattr(os, step, lambda *args: (calls.append(1), real(*args))[1])
        atomicfile.replace(path, b"new", tmp_path / "count.previous")
    for file in tmp_path.iterdir():
        file.unlink()
    return len(calls)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """The file is 0600, under any umask."""
    before = os.umask(umask)
    try:
        atomicfile.replace(tmp_path / "f", b"secret")
    finally:
        os.umask(before)
    assert mode(tmp_path / "f") == 0o600
    assert atomicfile.read(tmp_path / "f") == b"secret"


def test_never_readable_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first byte is written, the temporary file is private already."""
    modes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (modes.append(os.fstat(fd).st_mode & 0o777), real(fd, data))[1])
    atomicfile.replace(tmp_path / "f", b"secret")
    assert modes == [0o600]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes a byte at a time gets them all."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:1]))
    atomicfile.replace(tmp_path / "f", b"content")
    assert atomicfile.read(tmp_path / "f") == b"content"


def test_previous_generation(tmp_path: Path) -> None:
    """Each write keeps what was there; writing the same again does not lose the older one."""
    path, previous = tmp_path / "f", tmp_path / "f.previous"
    atomicfile.replace(path, b"1", previous)
    assert not previous.exists()
    atomicfile.replace(path, b"2", previous)
    atomicfile.replace(path, b"2", previous)
    assert (path.read_bytes(), previous.read_bytes()) == (b"2", b"1")
    assert mode(previous) == 0o600


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("step", STEPS)
def test_every_step_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: int) -> None:
    """Whichever call fails, the file holds old or new, nothing half-written remains, and the message says enough."""
    path, previous = tmp_path / "site.pem", tmp_path / "site.pem.previous"
    total = count_calls(tmp_path, monkeypatch, step)
    assert total >= 1
    for nth in range(1, total + 1):
        path.write_bytes(b"old")
        previous.write_bytes(b"older")
        with monkeypatch.context() as patch:
            fail_at(patch, step, nth, error)
            with pytest.raises(StoreError) as caught:
                atomicfile.replace(path, b"new", previous)
        assert path.read_bytes() in (b"old", b"new")
        assert previous.read_bytes() in (b"older", b"old")
        assert {file.name for file in tmp_path.iterdir()} == {"site.pem", "site.pem.previous"}
        assert str(tmp_path) in str(caught.value)
        assert os.strerror(error) in str(caught.value)


def test_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the step, the file, the reason and the remedy."""
    fail_at(monkeypatch, "write", 1, errno.ENOSPC)
    with pytest.raises(StoreError) as caught:
        atomicfile.replace(tmp_path / "f", b"new")
    assert str(caught.value) == (f"cannot write {tmp_path}/f: No space left on device; free space on its file system")


def test_interruption_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an exception that is no error leaves no temporary file."""

    def interrupt(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomicfile.replace(tmp_path / "f", b"new")
    assert list(tmp_path.iterdir()) == []


def test_read(tmp_path: Path) -> None:
    """No file is None; too large a file and a folder are errors."""
    assert atomicfile.read(tmp_path / "none") is None
    (tmp_path / "f").write_bytes(b"12345")
    assert atomicfile.read(tmp_path / "f", limit=5) == b"12345"
    with pytest.raises(StoreError, match="larger than 4 bytes"):
        atomicfile.read(tmp_path / "f", limit=4)
    with pytest.raises(StoreError, match="cannot read"):
        atomicfile.read(tmp_path)


def test_set_aside(tmp_path: Path) -> None:
    """What makes no sense is kept under another name, and something better may take its place."""
    path = tmp_path / "f"
    path.write_bytes(b"junk")
    aside = atomicfile.set_aside(path, NOW)
    assert aside == tmp_path / "f.corrupt-20270304T050607Z"
    assert aside.read_bytes() == b"junk"
    assert not path.exists()
    path.write_bytes(b"junk again")
    atomicfile.set_aside(path, NOW, b"good")  # the name is taken: as after a kill in the middle
    assert path.read_bytes() == b"good"


def test_set_aside_on_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failing to set it aside is a ``StoreError`` and changes nothing."""
    path = tmp_path / "f"
    path.write_bytes(b"junk")
    fail_at(monkeypatch, "link", 1, errno.EROFS)
    with pytest.raises(StoreError, match=r"set aside .*Read-only"):
        atomicfile.set_aside(path, NOW, b"good")
    assert path.read_bytes() == b"junk"


def test_folders_are_private(tmp_path: Path) -> None:
    """Missing folders are created 0700, all of them; what others may do in an existing one is taken away."""
    atomicfile.make_private_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    (tmp_path / "a" / "b").chmod(0o755)
    atomicfile.make_private_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700


def test_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the way, a folder that belongs to somebody else: a ``StoreError``."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="create the folder"):
        atomicfile.make_private_folder(tmp_path / "file")
    (tmp_path / "open").mkdir(0o755)
    fail_at(monkeypatch, "chmod", 1, errno.EPERM)
    with pytest.raises(StoreError, match="chmod 700"):
        atomicfile.make_private_folder(tmp_path / "open")


def test_existing_folder_on_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mkdir may say EROFS where it could say EEXIST; a folder that is there is good enough."""
    (tmp_path / "d").mkdir(0o700)
    fail_at(monkeypatch, "mkdir", 1, errno.EROFS)
    atomicfile.make_private_folder(tmp_path / "d")


def test_leftovers_are_removed(tmp_path: Path) -> None:
    """Temporary files of a killed process go; everything else stays."""
    (tmp_path / ".0123456789abcdef.tmp").write_bytes(b"half")
    for name in ("site.pem", ".hidden", "x.tmp"):
        (tmp_path / name).write_bytes(b"")
    atomicfile.remove_temporaries(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"site.pem", ".hidden", "x.tmp"}
    atomicfile.remove_temporaries(tmp_path / "missing")
