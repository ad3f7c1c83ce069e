"""HTTP/2 connections to one upstream address: many exchanges share one, up to what the upstream allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from appliance.config import Backend, Timeouts, UpstreamAddress
from appliance.errors import UpstreamError
from appliance.http.http2client import STREAMS
from appliance.net import proxyprotocol
from appliance.net.deadlines import Deadlines
from appliance.net.turn import Turn
from appliance.proxy.dial import Dial
from appliance.proxy.hostnames import HostNames
from appliance.proxy.http2call import Call
from appliance.proxy.http2link import Link
from appliance.proxy.pool import Pool, has_news


class Http2Pool(Pool):
    """See Pool. Requests that come while a connection is being opened wait for that one, as many as it may take.

    What is checked and what is counted as busy are calls; what is bounded by ``max_connections`` are connections.
    """

    http2 = True

    def __init__(
        self,
        reactor: Any,
        address: UpstreamAddress,
        deadlines: Deadlines,
        timeouts: Timeouts,
        backend: Backend,
        *,
        names: HostNames | None = None,
        turns: Turn | None = None,
    ) -> None:
        super().__init__(reactor, address, deadlines, timeouts, backend, names=names)
        self.turns = turns or Turn(reactor)
        self._links: list[Link] = []
        """Those that take calls."""
        self._opening: list[_Opening] = []

    @property
    def idle(self) -> int:
        """How many connections have no call under way."""
        return sum(not link.busy for link in self._links)

    @property
    def busy(self) -> int:
        """How many calls are under way, or wait for a connection."""
        links: set[Link] = self._all
        return sum(link.busy for link in links) + sum(len(opening.waiting) for opening in self._opening)

    @property
    def ready(self) -> bool:
        """See Pool."""
        return self.room

    @property
    def room(self) -> bool:
        """Whether one more call may be begun, at once or when a connection is open."""
        return (
            any(link.room > 0 for link in self._links)
            or any(opening.seats for opening in self._opening)
            or super().room
        )

    def take_idle(self, probe: bool) -> Any:
        """A call on a connection that stands, if there is a good one; see Pool."""
        for link in self._links:
            if link.room > 0 and not (probe and not link.busy and has_news(link)):
                return Call(link)
        return None

    def dial(
        self,
        connected: Callable[[Any], None],
        failed: Callable[[UpstreamError], None],
        client: proxyprotocol.Connection | None = None,
    ) -> Any:
        """A call to be begun when there is a connection for it; see Dial, which it looks like.

        ``connected`` may be told None: there is a connection, but no room for this one on it, nor for another.
        """
        return _Waiting(self, connected, failed)

    def build(self, dial: Dial) -> Any:
        """See Pool."""
        return Link(self, dial)

    def join(self, waiting: _Waiting) -> None:
        """Give it a call, or a seat where a connection is being opened."""
        seats = any(opening.seats for opening in self._opening)
        call = self.take_idle(probe=seats or super().room)
        if call is not None:
            waiting.serve(call)
            return
        for opening in self._opening:
            if opening.seats:
                opening.add(waiting)
                return
        opening = _Opening(self)
        self._opening.append(opening)
        opening.add(waiting)
        opening.dial.start()

    # --- from those who open ---

    def stands(self, opening: _Opening, link: Link) -> None:
        """A connection can take calls; those who waited for it and find no room wait for the next."""
        self._opening.remove(opening)
        self._links.append(link)
        while opening.waiting:
            waiting = opening.waiting.pop(0)
            if link.room > 0:
                waiting.serve(Call(link))
            elif self.room:
                self.join(waiting)
            else:
                waiting.serve(None)
        if self._closing:
            link.retire()

    def unreachable(self, opening: _Opening, error: UpstreamError) -> None:
        """No connection could be opened."""
        self._opening.remove(opening)
        while opening.waiting:
            opening.waiting.pop(0).fail(error)

    def given_up(self, opening: _Opening) -> None:
        """Nobody waits for it any more."""
        if opening in self._opening:  # else it has just ended
            self._opening.remove(opening)

    # --- from connections ---

    def released(self, connection: Any) -> None:
        """See connection.Owner; a call that was not used leaves nothing behind."""

    def retired(self, link: Link) -> None:
        """A connection takes no more calls."""
        if link in self._links:
            self._links.remove(link)

    def closed(self, connection: Any) -> None:
        """See connection.Owner."""
        self.retired(connection)
        self._all.discard(connection)
        self.roomier(None)

    def roomier(self, call: Call | None) -> None:
        """There may be room for one more: a call is over, or the application allows more."""
        if self.freed is not None:
            self.freed(call)

    def leave(self) -> None:
        """Close connections now or after the calls under way; new ones are kept."""
        for link in list(self._links):
            link.retire()


class _Opening:
    """A connection being opened, and who waits for it."""

    def __init__(self, pool: Http2Pool) -> None:
        self._pool = pool
        self.waiting: list[_Waiting] = []
        self.dial = Dial(pool, self._made, self._failed)

    @property
    def seats(self) -> int:
        """How many more may wait for it."""
        return STREAMS - len(self.waiting)

    def add(self, waiting: _Waiting) -> None:
        """One more waits."""
        self.waiting.append(waiting)
        waiting.opening = self

    def remove(self, waiting: _Waiting) -> None:
        """It does not wait any more."""
        self.waiting.remove(waiting)
        if not self.waiting:
            self._pool.given_up(self)
            self.dial.cancel()

    def _made(self, link: Any) -> None:
        self._pool.stands(self, link)

    def _failed(self, error: UpstreamError) -> None:
        self._pool.unreachable(self, error)


class _Waiting:
    """One who wants a call: ends with exactly one call of ``connected`` or ``failed``, unless it is cancelled."""

    def __init__(
        self, pool: Http2Pool, connected: Callable[[Any], None], failed: Callable[[UpstreamError], None]
    ) -> None:
        self._pool = pool
        self._connected = connected
        self._failed = failed
        self._began = 0.0
        self.opening: _Opening | None = None

    @property
    def took(self) -> float:
        """Seconds since it began."""
        return self._pool.deadlines.seconds() - self._began

    def start(self) -> None:
        """Begin. May already be over when this returns."""
        self._began = self._pool.deadlines.seconds()
        self._pool.join(self)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        opening, self.opening = self.opening, None
        if opening is not None and self in opening.waiting:
            opening.remove(self)

    def serve(self, call: Call | None) -> None:
        """There is a call for it; None if others were first, and no more can be opened."""
        self.opening = None
        self._connected(call)

    def fail(self, error: UpstreamError) -> None:
        """There is none."""
        self.opening = None
        self._failed(error)
