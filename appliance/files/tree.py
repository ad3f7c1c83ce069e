"""Opening files below a root, and nothing else, whatever names ask for and whatever links stand there.

Every component is opened relative to the folder
before it (``openat`` with ``O_NOFOLLOW``), and symbolic links are followed here, component by component as well, with
the root as their ceiling. What is checked is what is opened, so that nobody can exchange a folder for a link between.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from attrs import frozen

from appliance.files.names import Names

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Not blocking: a FIFO put there in the meantime must not stop the reactor until it is found out."""

_MOST_LINKS = 8

Place = tuple[int, ...]
"""Descriptors of folders, each in the one before it."""

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})
"""Why a name is nobody's, as opposed to what the operator should hear of."""


@frozen
class File:
    """A regular file, open. The descriptor is the receiver's to close."""

    descriptor: int
    size: int
    mtime_ns: int


class RootError(OSError):
    """The root itself cannot be opened."""


class Tree:
    """What is below ``root``, which may be a link, and lead elsewhere tomorrow: it is looked up for each `visit`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = os.fsencode(root)

    def visit(self) -> Visit:
        """For use in a ``with`` statement. Raises RootError."""
        try:
            return Visit(os.open(self._root, _FOLDER), self._root)
        except OSError as error:
            raise RootError(error.errno, error.strerror, str(self.root)) from None


class Visit:
    """One look into a tree. Its methods raise OSError for what is there and cannot be opened."""

    __slots__ = ("_above", "_opened", "_place", "_root")

    def __init__(self, descriptor: int, root: bytes) -> None:
        self._root = root
        self._opened = [descriptor]
        """Every folder that was opened: closed together at the end."""
        self._above: Names = ()
        self._place: Place = (descriptor,)
        """The folders from the root to the one that ``_above`` leads to, where the last file was looked for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._opened:
            os.close(descriptor)

    def file(self, names: Names) -> File | None:
        """Open the regular file that ``names``, at least one, lead to; None if there is none."""
        try:
            if names[:-1] != self._above:
                self._place, _ = self._walk(self._place[:1], names[:-1], folder=True)
                self._above = names[:-1]
            return self._walk(self._place, names[-1:], folder=False)[1]
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise OSError(error.errno, error.strerror, b"/".join((self._root, *names))) from error

    def beside(self, name: bytes) -> bool:
        """Whether there is something of this name, worth a look, in the folder where the last file was looked for."""
        return os.access(name, os.F_OK, dir_fd=self._place[-1])

    def _walk(self, place: Place, names: Sequence[bytes], *, folder: bool) -> tuple[Place, File | None]:
        """Go along, links included: where that leads, and the file that is there unless it must be a folder."""
        todo = list(reversed(names))
        links = 0
        while todo:
            name = todo.pop()
            if name == b"..":  # of a link: names of requests are never that
                if len(place) == 1:
                    raise _nowhere(name)
                place = place[:-1]
                continue
            if name in (b"", b"."):
                continue
            mode = os.stat(name, dir_fd=place[-1], follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=place[-1])
                self._opened.append(descriptor)
                place = (*place, descriptor)
            elif stat.S_ISLNK(mode) and links < _MOST_LINKS:
                links += 1
                place, more = self._follow(place, os.readlink(name, dir_fd=place[-1]))
                todo.extend(reversed(more))
            elif stat.S_ISREG(mode) and not todo and not folder:
                return place, _open_file(name, place[-1])
            else:
                raise _nowhere(name)
        return place, None

    def _follow(self, place: Place, target: bytes) -> tuple[Place, list[bytes]]:
        """Where a link begins, and the names it goes on with. An absolute one must be written as the root is."""
        if not target.startswith(b"/"):
            return place, target.split(b"/")
        below = target.removeprefix(self._root + b"/")
        if below == target:
            raise _nowhere(target)
        return place[:1], below.split(b"/")


def _open_file(name: bytes, folder: int) -> File:
    descriptor = os.open(name, _FILE, dir_fd=folder)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):  # it was exchanged since it was looked at
        os.close(descriptor)
        raise _nowhere(name)
    return File(descriptor, status.st_size, status.st_mtime_ns)


def _nowhere(name: bytes) -> OSError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
