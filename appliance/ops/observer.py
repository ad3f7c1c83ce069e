"""Where the end of every request arrives: lines for the access log are made, what there is to count is gathered.

Both are passed on in batches. No record and no request is kept: that would keep its memory from being used for the next
one, and cost each of them as much as counting it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from appliance.http.message import RequestHead
from appliance.http.record import CLIENT_GONE, Client, Record
from appliance.ops.accesslog.line import Line
from appliance.ops.metrics.counts import Kind, Tally
from appliance.ops.metrics.handshakereasons import reason_of

BATCH = 128
"""So many requests are passed on at once."""


Count = Callable[[Mapping[Kind, Tally]], object]
"""`metrics.counts.Counts.requests`."""
Log = tuple[Line, Callable[[Sequence[str]], object]]
"""What makes a line, and `accesslog.writer.AccessLog.write`."""


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
        count: Count | None = None,
        log: Log | None = None,
        handshakes: Handshakes | None = None,
        *,
        batch: int = BATCH,
    ) -> None:
        """``count`` is given tallies and ``log`` is what makes lines and what is given them: batches, not empty.

        Somebody must call `flush` from time to time.
        """
        self.report_to(count, log)
        self._handshakes = handshakes
        self._tallies: dict[Kind, Tally] = {}
        self._lines: list[str] = []
        self._begun = 0
        self._passed_on = 0
        self._kept = 0
        self.batch = batch
        """So many requests make a batch; 1 while nobody calls `flush` any more."""

    def report_to(self, count: Count | None, log: Log | None) -> None:
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
            kind = (record.site, record.upstream, request.method, record.status)
            tally = self._tallies.get(kind)
            if tally is None:
                tally = self._tallies[kind] = Tally()
            tally.seconds.append(now - record.started)
            sent, fault = record.sent, record.fault
            if sent:
                answered = record.answered or (0.0 if fault else now)
                if answered:
                    tally.upstream_seconds.append(answered - sent)
            tally.bytes_in += record.bytes_in
            tally.bytes_out += record.bytes_out
            if fault:
                tally.faults.append(fault)
        self._kept = kept = self._kept + 1
        if kept >= self.batch:
            self.flush()

    def flush(self) -> None:
        """Pass on what there is, a batch or not."""
        self._passed_on += self._kept
        self._kept = 0
        tallies, self._tallies = self._tallies, {}
        if tallies and self._count is not None:
            self._count(tallies)
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
