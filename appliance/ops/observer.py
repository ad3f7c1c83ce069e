"""Where the end of every request arrives: it is counted, and handed to the access log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from appliance.http.message import RequestHead
from appliance.http.record import CLIENT_GONE, Record


class Counting(Protocol):
    """Counts requests and handshakes: `metricscounts.Counts`."""

    def request(self, record: Record) -> None:
        """A request has ended."""

    def handshake_completed(self, version: str) -> None:
        """A TLS handshake has succeeded."""

    def handshake_failed(self, reason: BaseException | None) -> None:
        """A TLS handshake has failed."""


class RequestObserver:
    """An `http.record.Observer` for all listeners. ``log`` and ``counts`` may each be missing, but then what for."""

    def __init__(
        self,
        seconds: Callable[[], float],
        *,
        log: Callable[[Record], object] | None = None,
        counts: Counting | None = None,
    ) -> None:
        """``seconds`` is the monotonic clock; ``log`` keeps the records it is given for as long as it likes."""
        self._seconds = seconds
        self._log = log
        self._counts = counts
        self.begun = 0
        """How many requests there were so far."""
        self.in_flight = 0
        """How many requests and tunnels are under way."""

    def begin(self, request: RequestHead | None, client: str, tls: str) -> Record:
        """See http.record.Observer."""
        self.in_flight += 1
        self.begun = number = self.begun + 1
        return Record(request, client, tls, self._seconds(), number)

    def end(self, record: Record, whole: bool) -> None:
        """See http.record.Observer."""
        self.in_flight -= 1
        record.ended = self._seconds()
        record.whole = whole
        if not whole:
            record.fault = record.fault or "client"
            record.status = record.status or CLIENT_GONE
        if self._counts is not None:
            self._counts.request(record)
        if self._log is not None:
            self._log(record)

    def handshake_completed(self, version: str) -> None:
        """See http.record.Observer."""
        if self._counts is not None:
            self._counts.handshake_completed(version)

    def handshake_failed(self, reason: BaseException | None) -> None:
        """See http.record.Observer."""
        if self._counts is not None:
            self._counts.handshake_failed(reason)
