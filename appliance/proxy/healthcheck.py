"""Active health checks: an address is asked for a path, again and again, each time on a connection (HTTP/2: in a
stream) of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall

from appliance import __version__
from appliance.config import HealthCheck
from appliance.errors import UpstreamError
from appliance.http.message import Fields, RequestHead, ResponseHead
from appliance.proxy.dial import LOCAL, Dial
from appliance.proxy.exchange import Carrier
from appliance.proxy.member import Member
from appliance.proxy.pool import Pool

_CLOSE = b"Connection: close\r\n"


class HealthChecks(Service):
    """Checks one address while it runs. An address that refuses connections is being watched anyway, and left out."""

    def __init__(self, member: Member, check: HealthCheck, host: str, random: Callable[[], float]) -> None:
        """``host`` is the ``Host`` sent; ``random``, from 0 to below 1, spreads the checks of many addresses."""
        self._member = member
        self._clock = member.pool.reactor
        self._check = check
        self._request = RequestHead(b"GET", check.path.encode("ascii"), 1)
        self._request.authority = host.encode("ascii")
        agent = b"appliance/%b (health check)" % __version__.encode("ascii")
        self._request.fields = [(b"User-Agent", agent), (b"Accept", b"*/*")]
        self._random = random
        self._next: IDelayedCall | None = None
        self._current: _Check | None = None

    def startService(self) -> None:
        """Begin, somewhere within the first interval."""
        super().startService()  # type: ignore[no-untyped-call]
        self._next = self._clock.callLater(self._random() * self._check.interval, self._begin)

    def stopService(self) -> None:
        """Stop; a check under way is broken off."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._current is not None:
            self._current.cancel()
            self._current = None

    def _begin(self) -> None:
        self._next = self._clock.callLater(self._check.interval, self._begin)
        if self._member.accepting and self._current is None:
            self._current = _Check(self._member.pool, self._check, self._request, self._ended)
            self._current.start()

    def _ended(self, wrong: str | None) -> None:
        self._current = None
        if wrong is not None:
            self._member.checked(wrong)


class _Check:
    """One check; an exchange as far as its connection is concerned.

    Ends with one call of ``ended``, with what is wrong, nothing, or None if this has told nothing about the address.
    """

    until_close = False

    def __init__(
        self, pool: Pool, check: HealthCheck, request: RequestHead, ended: Callable[[str | None], None]
    ) -> None:
        self._pool = pool
        self._check = check
        self._request = request
        self._ended: Callable[[str | None], None] | None = ended
        self._connection: Carrier | None = None
        self._dial: Dial | None = None
        self._timer: IDelayedCall | None = None
        self._wrong = ""

    def start(self) -> None:
        """Connect and ask."""
        self._timer = self._pool.reactor.callLater(self._check.timeout, self._overdue)
        self._dial = dial = self._pool.dial(self._connected, self._unreachable)
        dial.start()

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        self._ended = None
        self._end("")

    def _end(self, wrong: str | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(wrong)

    def _overdue(self) -> None:
        self._end(f"no answer within {self._check.timeout:g} s")

    def _unreachable(self, error: UpstreamError) -> None:
        self._dial = None
        self._end(None if error.phase == LOCAL else str(error))

    def _connected(self, connection: Carrier | None) -> None:
        self._dial = None
        if connection is None:  # it has more to do than it can
            self._end(None)
            return
        self._connection = connection
        exchange: Any = self
        connection.send(exchange, self._request, self._request.target, _CLOSE, b"", True)

    # --- from the connection; see exchange.Exchange ---

    def response_head(self, response: ResponseHead) -> None:
        """That is all there is to know."""
        wanted = self._check.status
        good = response.status in wanted if wanted else 200 <= response.status < 300
        self._wrong = "" if good else f"it answered {response.status}"

    def flush(self) -> None:
        """The body is not waited for."""
        self._end(self._wrong)

    def response_body(self, data: bytes) -> None:
        """Nor read."""
        self._end(self._wrong)

    def response_end(self, data: bytes, trailers: Fields | None = None) -> None:
        """The connection is the pool's again."""
        self._connection = None
        self._end(self._wrong)

    def upstream_unanswered(self, connection: Carrier, error: UpstreamError) -> None:
        """The connection ended before any byte of a response."""
        self.upstream_failed(error)

    def upstream_refused(self, sent: bytes | None, error: UpstreamError) -> None:
        """It would not look at the request."""
        self.upstream_failed(error)

    def upstream_failed(self, error: UpstreamError) -> None:
        """There will be no response."""
        self._connection = None
        self._end(str(error))

    def may_switch(self, response: ResponseHead) -> bool:
        """No other protocol was asked for."""
        return False

    def informational(self, response: ResponseHead) -> None:
        """A 1xx says nothing."""

    def pause_request(self) -> None:
        """The request is all sent."""

    def resume_request(self) -> None:
        """The request is all sent."""
