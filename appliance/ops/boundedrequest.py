"""A request of the inner listeners, whose bodies are small: what is more is not kept."""

from __future__ import annotations

from twisted.web.server import Request

MAX_BODY = 64 * 1024
"""Bytes of a body; one more is kept to tell that it is too large."""


class BoundedRequest(Request):
    """Keeps no more of a body than tells that it is too large."""

    _kept = 0

    def handleContentChunk(self, data: bytes) -> None:
        """See http.Request."""
        room = MAX_BODY + 1 - self._kept
        self._kept += min(room, len(data))
        if room > 0:
            super().handleContentChunk(data[:room])  # type: ignore[no-untyped-call]
