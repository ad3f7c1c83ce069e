"""How much a transport still has to send: the proof that a slow peer makes progress."""

from __future__ import annotations

from typing import Any


def unsent(transport: Any) -> int:
    """Bytes accepted by a ``FileDescriptor`` transport and not yet taken by its socket; 0 where it does not say."""
    buffered = getattr(transport, "dataBuffer", None)
    if buffered is None:
        return 0
    return len(buffered) - int(transport.offset) + int(transport._tempDataLen)
