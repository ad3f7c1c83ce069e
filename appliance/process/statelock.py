"""One process at a time orders certificates: whoever has ``STATE_DIR/lock`` locked (flock(2))."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from twisted.application.service import Service
from twisted.logger import Logger

from appliance import atomicfile
from appliance.errors import StoreError

PATIENCE = 5.0
"""Seconds that a process which is about to end gets to let go."""

_INTERVAL = 0.1

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW

_NOTHING_WRITTEN = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
"""The last one is NFS's, for a file that can only be read."""

_log = Logger()


class StateLock(Service):
    """Holds the lock while it runs. The kernel lets go of it when the process ends, however that comes."""

    def __init__(self, state_dir: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self._state_dir = state_dir
        self._sleep = sleep
        self._descriptor: int | None = None

    def startService(self) -> None:
        """
        Lock. Blocks for `PATIENCE` at most while another process has it; raises StoreError if it keeps it.

        A disk that is full or read-only is complained about, no more: what is stored on it can be served.
        """
        atomicfile.make_private_folder(self._state_dir)
        path = self._state_dir / "lock"
        descriptor = _open(path)
        if descriptor is not None:
            try:
                self._lock(descriptor, path)
            except BaseException:
                os.close(descriptor)
                raise
            _sign(descriptor, path)
        self._descriptor = descriptor
        super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> None:
        """Unlock."""
        super().stopService()  # type: ignore[no-untyped-call]
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _lock(self, descriptor: int, path: Path) -> None:
        for _ in range(round(PATIENCE / _INTERVAL)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self._sleep(_INTERVAL)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise StoreError(f"cannot lock {path}: {error.strerror}") from error
                _log.warn("{path} cannot be locked here: see that no other process uses the folder", path=path)
                return
        raise StoreError(
            f"another appliance, process {_holder(descriptor)}, runs with state_dir {self._state_dir}: stop it first,"
            ' have it replaced by "appliance upgrade", or give this one a state_dir of its own'
        )


def _open(path: Path) -> int | None:
    """None where there is no such file, and none can be made."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
    except OSError as error:
        if error.errno not in _NOTHING_WRITTEN:
            raise StoreError(f"cannot open {path}: {error.strerror}") from error
        _complain(path, error)
    try:
        return os.open(path, os.O_RDONLY | _FLAGS)
    except OSError as error:
        why = error.strerror
        _log.warn("no lock on {path} ({why}): see that no other process uses the folder", path=path, why=why)
        return None


def _sign(descriptor: int, path: Path) -> None:
    """Say who has the lock; where that cannot be written, the lock holds all the same."""
    if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_RDWR:
        return  # which was complained about when it was opened
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        _complain(path, error)


def _complain(path: Path, error: OSError) -> None:
    _log.critical(
        "{path} CANNOT BE WRITTEN: {error}. Certificates that are stored are served, but new ones cannot be saved:"
        " free space on that file system, or make it writable",
        path=path,
        error=error.strerror,
    )


def _holder(descriptor: int) -> str:
    with contextlib.suppress(OSError, ValueError):
        return str(int(os.pread(descriptor, 32, 0)))
    return "unknown"
