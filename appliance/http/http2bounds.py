"""What a client may do on one HTTP/2 connection that costs us and brings nobody anything.

Rapid resets, streams that make us reset them, PING, SETTINGS and empty frames in numbers: all are legal one by one,
so they are not judged one by one. Each takes points from an account that requests served and data taken fill again,
as does time, slowly. Who overdraws it is shown out with ENHANCE_YOUR_CALM (RFC 9113 section 10.5).
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.http.http2frames import ENHANCE_YOUR_CALM, Http2ConnectionError

FULL = 3200
"""Points of a fresh connection, and the most there can be: a page of images taken back, twice."""
A_SECOND = 500
"""Points that a second brings back: 30 calls whose time is up are no attack, while an application hangs."""

FRAME = 1
"""A frame that asks for attention only: PING, PRIORITY, an empty DATA, an unknown type, a WINDOW_UPDATE."""
SETTINGS_FRAME = 8
"""Its values can concern every stream."""
RESET = 16
"""A stream that ends before its answer, whoever ends it."""
STALLED = 1600
"""A stream ended because its client kept its window shut."""

SERVED = 10
"""A stream that came to its proper end."""
TAKEN = 3
"""A DATA frame sent that the client's window did not cut down to a crumb; and one more for each `TAKEN_BYTES`."""
TAKEN_BYTES = 2048
"""Go's clients, and applications, answer every 4 KiB that they read with two WINDOW_UPDATE."""


class Patience:
    """The account of one connection. ``seconds`` is a monotonic clock, looked at only when points run out."""

    __slots__ = ("_filled_at", "_left", "_seconds")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._filled_at = seconds()
        self._left: float = FULL

    def spend(self, points: int, on: str) -> None:
        """Raises Http2ConnectionError, which names the last thing that points were spent on, if none are left."""
        self._left -= points
        if self._left < 0:
            now = self._seconds()
            self._left = min(self._left + A_SECOND * (now - self._filled_at), FULL)
            self._filled_at = now
            if self._left < 0:
                raise Http2ConnectionError(ENHANCE_YOUR_CALM, f"too many of these: {on}")

    def earn(self, points: int) -> None:
        """The client let us do something of use."""
        left = self._left + points
        self._left = left if left < FULL else FULL
