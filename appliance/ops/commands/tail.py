"""The last lines of a file, and those that are added to it: through rotation, and without reading all of it. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 64 * 1024
MOST_LOOKED_AT = 64 * 1024 * 1024
"""Bytes from the end in which lines are looked for."""

Wanted = Callable[[bytes], bool]
"""Whether to show a line, which is given without its end."""


def last_lines(file: BinaryIO, count: int, wanted: Wanted) -> list[bytes]:
    """The last ``count`` whole lines that are ``wanted``. Leaves the file after the last whole line."""
    end = file.seek(0, os.SEEK_END)
    rest, found, whole = b"", list[bytes](), 0
    for start, block in _backwards(file, end):
        first, *lines = (block + rest).split(b"\n")
        if lines and not whole:
            whole = end - len(lines.pop())  # what follows the last newline is no line yet
        found += [line for line in reversed(lines) if line and wanted(line)]
        if start == 0 and whole and first and wanted(first):
            found.append(first)
        if whole and len(found) >= count:
            break
        rest = first + b"\n" if lines or whole else first
    file.seek(whole)
    return found[:count][::-1]


def _backwards(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """Blocks and where they begin, the last one first."""
    position = end
    while position > 0 and end - position < MOST_LOOKED_AT:
        start = max(0, position - _BLOCK)
        file.seek(start)
        yield start, file.read(position - start)
        position = start


class Follower:
    """Reads what is added to the file of that name, whichever that is by now."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self.file = file
        """Open where reading goes on."""
        self._rest = b""

    def lines(self) -> Iterator[bytes]:
        """The whole lines that have come since the last call; those of the file before, first, after a rotation."""
        yield from self._read()
        if self._moved():
            try:
                new = open(self._path, "rb")  # noqa: SIM115 - closed when it is moved away in turn
            except OSError:
                return
            self.file.close()
            self.file, self._rest = new, b""
            yield from self._read()

    def _read(self) -> Iterator[bytes]:
        while block := self.file.read(_BLOCK):
            *lines, self._rest = (self._rest + block).split(b"\n")
            yield from lines

    def _moved(self) -> bool:
        """Whether the name leads to another file, or the file was cut short."""
        try:
            named = os.stat(self._path)
        except OSError:
            return False
        here = os.fstat(self.file.fileno())
        return not os.path.samestat(named, here) or here.st_size < self.file.tell()

    def close(self) -> None:
        """Close the file."""
        self.file.close()
