"""Where the end of every request arrives: lines for the access log are made, what there is to count is kept.

Both are passed on in batches. What is kept is the record only: keeping requests would keep their memory from being used
for the next ones, and cost each of them as much as counting it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.http.message import RequestHead
from appliance.http.record import CLIENT_GONE, Client, Record
from appliance.ops.accesslog.line import Line
from appliance.ops.metrics.handshakereasons import reason_of

BATCH = 128
"""So many requests are passed on at once."""


class Handshakes(Protocol):
    """Counts handshakes: `metrics.counts.Counts`."""

    def handshake_completed(self, version: str) -> None:
        """One has succeeded."""

    def handshake_failed(self, reason: str) -> None:
        """One has failed, for this."""


class RequestObserver:
    """An `http.record.Observer` for all listeners."""

    def __init__(
        self,
        count: Callable[[Sequence[Record]], object] | None = None,
        log: tuple[Line, Callable[[Sequence[str]], object]] | None = None,
        handshakes: Handshakes | None = None,
        *,
        batch: int = BATCH,
    ) -> None:
        """``count`` is given records and ``log`` is what makes lines and what is given them: batches, not empty.

        Somebody must call `flush` from time to time.
        """
        self.report_to(count, log)
        self._handshakes = handshakes
        self._records: list[Record] = []
        self._lines: list[str] = []
        self._begun = 0
        self._passed_on = 0
        self._kept = 0
        self.batch = batch
        """So many requests make a batch; 1 while nobody calls `flush` any more."""

    def report_to(
        self,
        count: Callable[[Sequence[Record]], object] | None,
        log: tuple[Line, Callable[[Sequence[str]], object]] | None,
    ) -> None:
        """Have others get what is passed on from now on."""
        self._count = count
        self._line = log[0] if log is not None else None
        self._write = log[1] if log is not None else None

    @property
    def in_flight(self) -> int:
        """How many requests and tunnels are under way."""
        return self._begun - self._passed_on - self._kept

    def begin(self, began: float) -> Record:
        """See http.record.Observer."""
        record = Record()
        record.number = self._begun = self._begun + 1
        record.started = began
        record.site = record.upstream = record.fault = ""
        record.status = record.bytes_in = record.bytes_out = 0
        record.sent = record.answered = 0.0
        return record

    def end(self, record: Record, request: RequestHead, client: Client, now: float, whole: bool) -> None:
        """See http.record.Observer."""
        if not whole:
            record.fault = record.fault or "client"
            record.status = record.status or CLIENT_GONE
        if self._line is not None:
            self._lines.append(self._line(record, request, client, now))
        if self._count is not None:
            record.method = request.method
            record.ended = now
            self._records.append(record)
        self._kept = kept = self._kept + 1
        if kept >= self.batch:
            self.flush()

    def flush(self) -> None:
        """Pass on what there is, a batch or not."""
        self._passed_on += self._kept
        self._kept = 0
        records, self._records = self._records, []
        if records and self._count is not None:
            self._count(records)
        lines, self._lines = self._lines, []
        if lines and self._write is not None:
            self._write(lines)

    def handshake_completed(self, version: str) -> None:
        """See http.record.Observer."""
        if self._handshakes is not None:
            self._handshakes.handshake_completed(version)

    def handshake_failed(self, reason: BaseException | None) -> None:
        """See http.record.Observer."""
        if self._handshakes is not None:
            self._handshakes.handshake_failed(reason_of(reason))
