"""How much a transport still has to send: the proof that a slow peer makes progress."""

from __future__ import annotations

import struct
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any


def unsent(transport: Any) -> int:
    """Bytes accepted by a ``FileDescriptor`` transport and not yet taken by its peer; 0 where it does not say.

    The kernel's queue counts: it can hold megabytes, which a slow peer takes minutes to read.
    """
    buffered = getattr(transport, "dataBuffer", None)
    if buffered is None:
        return 0
    return len(buffered) - int(transport.offset) + int(transport._tempDataLen) + _in_kernel(transport)


def _in_kernel(transport: Any) -> int:
    """Bytes in the socket's send queue, not acknowledged by the peer; 0 where the system does not tell."""
    try:
        (queued,) = struct.unpack("i", ioctl(transport.fileno(), TIOCOUTQ, b"\0\0\0\0"))
    except (AttributeError, OSError, ValueError):
        return 0
    return int(queued)
