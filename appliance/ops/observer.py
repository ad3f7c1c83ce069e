"""Where the end of every request arrives. What there is to count and to write is passed on in batches.

In batches, because code runs twice as fast while the processor has it at hand, and requests have used all that up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.http.message import RequestHead
from appliance.http.record import CLIENT_GONE, Record
from appliance.ops.handshakereasons import reason_of
from appliance.ops.metricscounts import Counted

BATCH = 128
"""So many requests are passed on at once, which takes less than half a millisecond."""


class Handshakes(Protocol):
    """Counts handshakes: `metricscounts.Counts`."""

    def handshake_completed(self, version: str) -> None:
        """One has succeeded."""

    def handshake_failed(self, reason: str) -> None:
        """One has failed, for this."""


class RequestObserver:
    """An `http.record.Observer` for all listeners."""

    def __init__(
        self,
        count: Callable[[Sequence[Counted]], object] | None = None,
        log: Callable[[Sequence[Record]], object] | None = None,
        handshakes: Handshakes | None = None,
        *,
        batch: int = BATCH,
    ) -> None:
        """``count`` and ``log`` are given batches, not empty. Somebody must call `flush` from time to time."""
        self._count = count
        self._log = log
        self._handshakes = handshakes
        self._counted: list[Counted] = []
        self._logged: list[Record] = []
        self._begun = 0
        self._passed_on = 0
        self._kept = 0
        self.batch = batch
        """So many requests make a batch; 1 while nobody calls `flush` any more."""

    @property
    def in_flight(self) -> int:
        """How many requests and tunnels are under way."""
        return self._begun - self._passed_on - self._kept

    def begin(self, request: RequestHead | None, client: str, tls: str, began: float) -> Record:
        """See http.record.Observer."""
        record = Record()
        record.request = request
        record.client = client
        record.tls = tls
        record.number = self._begun = self._begun + 1
        record.started = began
        record.protocol = record.site = record.upstream = record.fault = ""
        record.status = record.bytes_in = record.bytes_out = 0
        record.sent = record.answered = record.ended = 0.0
        return record

    def end(self, record: Record, now: float, whole: bool) -> None:
        """See http.record.Observer."""
        request = record.request
        if request is not None:
            request.record = None  # a cycle for each request would keep the garbage collector busy
        if not whole:
            record.fault = record.fault or "client"
            record.status = record.status or CLIENT_GONE
        elif not record.answered:
            record.answered = now
        if self._count is not None:
            sent, answered = record.sent, record.answered
            self._counted.append(
                (
                    record.site,
                    request.method if request is not None else b"",
                    record.status,
                    now - record.started,
                    record.upstream,
                    answered - sent if sent and answered else -1.0,
                    record.bytes_in,
                    record.bytes_out,
                    record.fault,
                )
            )
        if self._log is not None:
            record.ended = now
            self._logged.append(record)
        self._kept = kept = self._kept + 1
        if kept >= self.batch:
            self.flush()

    def flush(self) -> None:
        """Pass on what there is, a batch or not."""
        self._passed_on += self._kept
        self._kept = 0
        counted, self._counted = self._counted, []
        if counted and self._count is not None:
            self._count(counted)
        logged, self._logged = self._logged, []
        if logged and self._log is not None:
            self._log(logged)

    def handshake_completed(self, version: str) -> None:
        """See http.record.Observer."""
        if self._handshakes is not None:
            self._handshakes.handshake_completed(version)

    def handshake_failed(self, reason: BaseException | None) -> None:
        """See http.record.Observer."""
        if self._handshakes is not None:
            self._handshakes.handshake_failed(reason_of(reason))
