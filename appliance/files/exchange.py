"""One file on its way to a client: read in pieces, as fast as the client takes them, and never waited for."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Protocol

from appliance.files.answer import Pieces
from appliance.files.ranges import Span
from appliance.http.message import Fields, ResponseHead
from appliance.http.serving import Downstream

PIECE_BYTES = 64 * 1024
_IN_A_TURN = 2
"""So many pieces, then others have their turn: a fast client's socket may take a whole file at once."""


class Source(Protocol):
    """Reads files: `reading.Reading`."""

    def read(self, descriptor: int, offset: int, size: int) -> bytes | None:
        """What is in memory of these bytes, at least one; empty at the file's end, None if the disk must be asked."""

    def fetch(self, descriptor: int, offset: int, size: int, told: Callable[[bytes], None]) -> None:
        """Read them in a thread, and tell; empty at the file's end or if it cannot be read."""

    def later(self, call: Callable[[], None]) -> None:
        """Have it called after the others' turn."""


class FileExchange:
    """See serving.Exchange. It owns the file's descriptor."""

    __slots__ = ("_at_work", "_broken", "_descriptor", "_downstream", "_gone", "_head", "_paused", "_pieces", "_source")

    def __init__(
        self,
        downstream: Downstream,
        head: ResponseHead,
        descriptor: int,
        pieces: Pieces,
        source: Source,
        broken: Callable[[], None],
    ) -> None:
        """``pieces`` are not empty, nor is one of them; ``broken`` is told if the file has not what they promise."""
        self._broken = broken
        self._downstream = downstream
        self._head = head
        self._descriptor = descriptor
        self._pieces = deque(pieces)
        self._source = source
        self._paused = False
        self._at_work = False
        """Whether something that goes on by itself is under way."""
        self._gone = False

    def start(self) -> None:
        """See Exchange."""
        self._downstream.send_head(self._head)
        self._go_on()

    def body_received(self, data: bytes) -> None:
        """A body means nothing to a file (RFC 9110 section 9.3.1)."""

    def body_ended(self, trailers: Fields | None = None) -> None:
        """See Exchange."""

    def pause(self) -> None:
        """See Exchange."""
        self._paused = True

    def resume(self) -> None:
        """See Exchange."""
        self._paused = False
        if not self._at_work:
            self._go_on()

    def client_lost(self) -> None:
        """See Exchange. While a thread reads, the descriptor must not become another file's."""
        self._gone = True
        if not self._at_work:
            self._close()

    def _go_on(self) -> None:
        """Send what is in memory, as long as the client takes it and others do not wait too long."""
        if self._gone:
            self._close()
            return
        self._at_work = True
        for _ in range(_IN_A_TURN):
            if self._paused:
                self._at_work = False
                return
            piece = self._pieces[0]
            if isinstance(piece, Span):
                size = min(piece.stop - piece.start, PIECE_BYTES)
                data = self._source.read(self._descriptor, piece.start, size)
                if data is None:
                    self._source.fetch(self._descriptor, piece.start, size, self._fetched)
                    return
            else:
                data = piece
            if not self._send(data):
                return
        self._source.later(self._go_on)

    def _fetched(self, data: bytes) -> None:
        if not self._gone and not self._send(data):
            return
        self._go_on()

    def _send(self, data: bytes) -> bool:
        """Pass on the beginning of what is left; False when that was the end, this way or another."""
        if not data:  # the file is shorter than it was
            self._close()
            self._broken()
            self._downstream.fail(500)
            return False
        piece = self._pieces.popleft()
        if isinstance(piece, Span) and piece.start + len(data) < piece.stop:
            self._pieces.appendleft(Span(piece.start + len(data), piece.stop))
        if not self._pieces:
            self._close()
            self._downstream.end_chunked_and_body(data)
            return False
        self._downstream.send_body(data)
        if self._gone:
            self._close()
            return False
        return True

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
