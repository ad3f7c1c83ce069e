"""Listening UNIX sockets and their files: whoever makes one clears what a crash left there, and takes its own away.

Twisted's way is a lock beside the file, with the number of a process. It outlives a crash, too, and the next process of
a container has that very number: the socket would be taken for ever.
"""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is extended here)

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure


class UnixPort(unix.Port):
    """A ``unix.Port`` that needs no lock, and leaves the file of a socket that it was given as it is."""

    _inode = 0
    """Of the file that is to be taken away at the end; 0 if that is nothing of ours."""

    def startListening(self) -> None:
        """See ``IListeningPort``."""
        tcp._reservedFD.reserve()
        if self._preexistingSocket is None:
            self._preexistingSocket = self._bind()
            self._inode = _inode(self._bindPath)
        listening, self._preexistingSocket = self._preexistingSocket, None
        factory: Any = self.factory
        factory.doStart()
        self.socket = listening
        self.fileno = listening.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.connected = True
        self.startReading()

    def _bind(self) -> socket.socket:
        _clear(self._bindPath)
        made: socket.socket = self.createInternetSocket()
        try:
            made.bind(self._bindPath)
            if _inode(self._bindPath):
                os.chmod(self._bindPath, self.mode)
            made.listen(self.backlog)
        except OSError as error:
            made.close()
            raise CannotListenError(None, self._bindPath, error) from error
        return made

    def keep_file(self) -> None:
        """Another process has the socket as well: let its file stay."""
        self._inode = 0

    def connectionLost(self, reason: Failure) -> None:
        """Listening is over. A file that somebody else has put in the place of ours stays."""
        with suppress(OSError):
            if self._inode and _inode(self._bindPath) == self._inode:
                os.unlink(self._bindPath)
        tcp.Port.connectionLost(self, reason)


def _clear(path: bytes) -> None:
    """Take away the file of a socket that nobody listens on any more; what else is there is for ``bind`` to refuse."""
    with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        if stat.S_ISSOCK(os.lstat(path).st_mode) and asking.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)


def _inode(path: bytes) -> int:
    """0 where there is no file: names in the abstract namespace have none."""
    with suppress(OSError, ValueError):
        return os.lstat(path).st_ino
    return 0
