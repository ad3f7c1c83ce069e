"""Where the end of every request arrives, to be counted and written down.

Requests are kept until there are enough for a batch, and then gone through in one loop: what is done for one after the
other costs half of what it costs between everything else that is done for a request. Larger batches cost more again,
as memory is not used anew so soon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.logger import Logger

from appliance.http.message import RequestHead
from appliance.http.observing import CLIENT_GONE, Client
from appliance.ops.accesslog.line import Line
from appliance.ops.metrics.handshakereasons import reason_of

BATCH = 128
"""So many requests are passed on at once."""


Count = Callable[[Sequence[RequestHead]], object]
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
    """An `http.observing.Observer` for all listeners."""

    log = Logger()

    def __init__(
        self,
        count: Count | None = None,
        log: Log | None = None,
        handshakes: Handshakes | None = None,
        *,
        batch: int = BATCH,
    ) -> None:
        """``count`` is given requests, and ``log`` is what makes lines and what is given them: batches, not empty.

        Somebody must call `flush` from time to time.
        """
        self.report_to(count, log)
        self._handshakes = handshakes
        self._requests: list[RequestHead] = []
        self.begun = 0
        """See http.observing.Observer."""
        self._passed_on = 0
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
        return self.begun - self._passed_on - len(self._requests)

    def end(self, request: RequestHead, client: Client, now: float, whole: bool) -> None:
        """See http.observing.Observer."""
        if not whole:
            request.fault = request.fault or "client"
            request.status = request.status or CLIENT_GONE
        request.client = client
        request.ended = now
        requests = self._requests
        requests.append(request)
        if len(requests) >= self.batch:
            self.flush()

    def flush(self) -> None:
        """Pass on what there is, a batch or not."""
        requests, self._requests = self._requests, []
        if not requests:
            return
        self._passed_on += len(requests)
        # Whatever is wrong in there, clients are served and what comes later is passed on.
        if self._count is not None:
            try:
                self._count(requests)
            except Exception:
                self.log.failure(
                    "metrics: {count} requests are not counted: the appliance's mistake, please report it",
                    count=len(requests),
                )
        if self._line is not None and self._write is not None:
            try:
                lines = list(map(self._line, requests))
            except Exception:
                lines = self._one_by_one(self._line, requests)
            if lines:
                self._write(lines)

    def _one_by_one(self, line: Line, requests: Sequence[RequestHead]) -> list[str]:
        """The lines that can be made."""
        lines: list[str] = []
        for request in requests:
            try:
                lines.append(line(request))
            except Exception:
                self.log.failure(
                    "access log: no line for a request of {site}: the appliance's mistake, please report it",
                    site=request.site or "no site",
                )
        return lines

    def handshake_completed(self, version: str) -> None:
        """See http.observing.Observer."""
        if self._handshakes is not None:
            self._handshakes.handshake_completed(version)

    def handshake_failed(self, reason: BaseException | None) -> None:
        """See http.observing.Observer."""
        if self._handshakes is not None:
            self._handshakes.handshake_failed(reason_of(reason))
