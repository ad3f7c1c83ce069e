"""A file that lines are appended to, and that somebody else may move away, or the disk be too full for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Lock

_MODE = 0o640
"""Access logs have clients' addresses in them: for the service's user and a group that may read logs."""


class LogFile:
    """Blocks on the disk, so that `write` is for threads; one at a time, whoever calls."""

    def __init__(self, path: Path | None) -> None:
        """``None`` is standard output."""
        self._path = path
        self._lock = Lock()
        self._file = -1
        self._torn = False
        self._moved = False

    def __str__(self) -> str:
        return str(self._path) if self._path is not None else "standard output"

    def reopen(self) -> None:
        """Open the file anew with the next write, whatever it looks like. From any thread."""
        self._moved = True

    def write(self, lines: bytes) -> None:
        """
        Append whole lines, to the file that has the name now.

        :raises OSError: not all were written. What is missing is not tried again, and what was torn stays a line of
            its own.
        """
        with self._lock:
            file = self._open()
            if self._torn:
                lines = b"\n" + lines
            written = 0
            try:
                while written < len(lines):
                    written += os.write(file, lines[written:])
            finally:
                if written:
                    self._torn = lines[written - 1] != ord("\n")

    def close(self) -> None:
        """Close it; another write opens it again."""
        with self._lock:
            self._close()

    def _open(self) -> int:
        if self._path is None:
            return sys.__stdout__.fileno() if sys.__stdout__ is not None else 1
        if self._file >= 0 and (self._moved or not self._is_current(self._path)):
            self._close()
        if self._file < 0:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        self._moved = False
        return self._file

    def _is_current(self, path: Path) -> bool:
        """Whether the name still leads to the file that is open: rotation by renaming needs no signal."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            self._torn = False
            os.close(file)
