"""
Small files that are whole or not there: what every piece of kept state is written with.

``replace`` promises, whatever happens in the middle of it (``kill -9``, a full disk, power loss):

- ``path`` holds all of the old content or all of the new, never a mixture, and once ``replace`` has returned, the new
  content survives power loss;
- the content is never readable for anybody but the owner: it is created 0600, whatever the umask;
- after an error (ENOSPC, EDQUOT, EACCES, EROFS, EIO …) nothing half-written is left behind, and a ``StoreError``
  names the file, the step and what to do. Only when the very last step fails, syncing the folder, is the new content
  in place, whole, but perhaps not after power loss; write it again to be sure;
- after a kill, a temporary file may be left: ``remove_temporaries`` deletes those at the next start.

Two writers of one file do not corrupt it: the last one wins. Nothing here waits for anything but the disk; since that
may take seconds, callers in the reactor go through a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from appliance.errors import StoreError

_PIECE = 32 * 1024
"""Most files are read in one; room for the largest one would have to be found for each of thousands."""

_PREFIX, _SUFFIX = ".", ".tmp"

_ADVICE = {
    errno.ENOSPC: "free space on its file system",
    errno.EDQUOT: "raise the disk quota of the user the service runs as",
    errno.EACCES: "let the user the service runs as write there",
    errno.EPERM: "let the user the service runs as own and write it",
    errno.EROFS: "make its file system writable",
}


# Host names as A-labels, wildcards, IP addresses: nothing that a path could be made of. With the longest suffix added
# (that of a file set aside) the name has to fit into the 255 bytes of a file name.
_NAME = re.compile(r"[A-Za-z0-9*_:][A-Za-z0-9*_:.-]{0,219}")


def is_name(name: str) -> bool:
    """Whether ``name``, a host name, wildcard or IP address, may be the first part of a file's name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """
    Refuse what ``is_name`` does.

    :raises StoreError: says so.
    """
    if not is_name(name):
        raise StoreError(f"cannot keep a file for {name!r}: not a host name of at most 220 characters")


def replace(path: Path, content: bytes, previous: Path | None = None) -> None:
    """
    Write ``content`` to ``path``, atomically and durably; with ``previous``, keep what stood there under that name.

    Storing again what is there already leaves ``previous`` as it is, so that a repeated write loses no generation.

    :raises StoreError: see the module's promises.
    """
    pending = [(_temporary_beside(path), path, content)]
    if previous is not None:
        old = read(path)
        if old is not None and old != content:
            # Renamed first: a kill between the two renames leaves the old content under both names.
            pending.insert(0, (_temporary_beside(previous), previous, old))
    try:
        for temporary, final, data in pending:
            _write_new(temporary, final, data)
        for temporary, final, _ in pending:
            with _step("rename into place", final):
                os.rename(temporary, final)
    except BaseException:
        for temporary, _, _ in pending:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def read(path: Path, limit: int = 1 << 20) -> bytes | None:
    """
    Read the content of ``path``, or None if there is no such file.

    :param limit: the most bytes it may have.
    :raises StoreError: it cannot be read, or is larger than that.
    """
    try:
        with _step("read", path), open(path, "rb", buffering=0) as file:
            content = piece = file.read(_PIECE)
            while piece and len(content) <= limit:
                piece = file.read(_PIECE)
                content += piece
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    if len(content) > limit:
        raise StoreError(f"{path}: larger than {limit} bytes, so not one of our files; move it away")
    return content


def set_aside(path: Path, now: datetime, replacement: bytes | None = None) -> Path:
    """
    Rename a file that makes no sense to ``NAME.corrupt-TIME``, for a human to look at; return its new path.

    With ``replacement``, that takes its place, at no moment leaving nothing there.

    :raises StoreError: it cannot be renamed or replaced.
    """
    aside = path.with_name(f"{path.name}.corrupt-{now:%Y%m%dT%H%M%SZ}")
    with _step("set aside", path), contextlib.suppress(FileExistsError):  # a kill between here and the next line
        os.link(path, aside)
    if replacement is not None:
        replace(path, replacement)
    else:
        with _step("remove, now that it is set aside,", path):
            os.unlink(path)
    return aside


def make_private_folder(folder: Path) -> None:
    """
    Create ``folder``, and whatever is missing above it, with mode 0700; take from others what they may do in it.

    :raises StoreError: it cannot be created or tightened, or is no folder.
    """
    with _step("create the folder", folder):
        missing = [ancestor for ancestor in (folder, *folder.parents) if not ancestor.exists()]
        for ancestor in reversed(missing):
            with contextlib.suppress(FileExistsError):  # another thread needed it too
                os.mkdir(ancestor, 0o700)
            _sync_folder(ancestor.parent)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    with _step("make private (chmod 700)", folder):
        if folder.stat().st_mode & 0o777 != 0o700:
            os.chmod(folder, 0o700)


def remove_temporaries(folder: Path) -> None:
    """
    Delete what an interrupted ``replace`` left in ``folder``. Only before the first write of a process.

    :raises StoreError: the folder cannot be read, or a temporary file not deleted.
    """
    with _step("list the folder", folder):
        names = os.listdir(folder) if folder.exists() else []
    for name in names:
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
            with _step("remove a left-over temporary file", folder / name):
                os.unlink(folder / name)


def _temporary_beside(path: Path) -> Path:
    # Not made of the file's own name, which may be as long as a file name can be.
    return path.with_name(f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")


def _write_new(temporary: Path, final: Path, content: bytes) -> None:
    with _step("create a temporary file for", final):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with _step("write", final):
            os.fchmod(descriptor, 0o600)  # the umask may have taken the owner's bits away
            remaining = memoryview(content)
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
        with _step("sync to disk", final):
            os.fsync(descriptor)
    finally:
        # After a good fsync nothing is left that close could lose.
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    with _step("sync to disk the folder", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _step(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "see to the file system")
        raise StoreError(f"cannot {what} {path}: {error.strerror or error}; {advice}") from error
