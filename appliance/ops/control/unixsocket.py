"""The UNIX socket between the service and its commands: ``STATE_DIR/control.sock``, 0600, in a folder of 0700.

An address on a UNIX socket has 107 bytes (unix(7)), and state folders of tests and containers are deeper than that, so
both ends reach the socket through the folder's descriptor, whatever its name. What an earlier process left behind is
replaced by a rename: at no moment is there none, and of two processes the one started last is found.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from pathlib import Path

from attrs import define

from appliance import atomicfile
from appliance.errors import StoreError

NAME = "control.sock"
BACKLOG = 16


@define
class ListeningSocket:
    """A listening socket, under a temporary name until ``publish``; ``remove`` takes its name away again."""

    socket: socket.socket
    path: Path
    _folder: int
    _temporary: str
    _inode: int = 0

    def publish(self) -> None:
        """Let it be found, by its owner only. Raises StoreError."""
        try:
            os.chmod(self._temporary, 0o600)
            os.rename(self._temporary, NAME, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            self._inode = os.stat(NAME, dir_fd=self._folder).st_ino
        except OSError as error:
            raise _refused(self.path, error) from error

    def found(self) -> bool:
        """Whether the name leads here, and not to another process."""
        with contextlib.suppress(OSError):
            return os.stat(NAME, dir_fd=self._folder).st_ino == self._inode
        return False

    def remove(self) -> None:
        """Forget the name, unless it is a newer process's by now. The socket itself is its user's to close."""
        with contextlib.suppress(OSError):
            if self.found():
                os.unlink(NAME, dir_fd=self._folder)
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)
        os.close(self._folder)


def listen(state_dir: Path) -> ListeningSocket:
    """A new socket, non-blocking, not to be found yet. Raises StoreError naming it."""
    atomicfile.make_private_folder(state_dir)
    path = state_dir / NAME
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    made = ListeningSocket(listening, path, folder, f"/proc/self/fd/{folder}/.{secrets.token_hex(8)}.tmp")
    try:
        listening.bind(made._temporary)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        made.remove()
        raise _refused(path, error) from error
    listening.setblocking(False)
    return made


def _refused(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot listen on {path}: {error.strerror}; no command will reach this process")


def connect(state_dir: Path, timeout: float) -> socket.socket:
    """Connect to the process that listens there. ``timeout`` in seconds. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{NAME}")
        finally:
            os.close(folder)
    except BaseException:
        connection.close()
        raise
    return connection
