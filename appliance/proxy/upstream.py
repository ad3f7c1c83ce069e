"""The application behind a route: its addresses, which of them is asked, and what happens when none answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.logger import Logger

from appliance.errors import UpstreamError
from appliance.proxy.connection import UpstreamConnection
from appliance.proxy.exchange import Exchange
from appliance.proxy.pool import Dial, Pool

_LOG_SECONDS = 1.0


class Upstream:
    """Hands out connections of its pools, in turn; an address that cannot be reached is passed over."""

    log = Logger()

    def __init__(self, name: str, pools: Sequence[Pool]) -> None:
        self.name = name
        """How it is called in the log: the site and route."""
        self.pools = tuple(pools)
        self._turn = 0
        self._attempts: dict[Exchange, _Attempt] = {}
        self._logged_at = float("-inf")
        self._unlogged = 0

    def acquire(self, exchange: Exchange, fresh: bool) -> None:
        """See exchange.Upstream."""
        pools = self.pools
        turn = self._turn
        if len(pools) > 1:
            self._turn = (turn + 1) % len(pools)
        if not fresh:
            connection = pools[turn].take_idle(not exchange.replayable)
            if connection is not None:
                exchange.upstream_ready(connection)
                return
        attempt = _Attempt(self, exchange, [*pools[turn:], *pools[:turn]])
        self._attempts[exchange] = attempt
        attempt.next()

    def settled(self, exchange: Exchange) -> None:
        """An attempt has ended."""
        del self._attempts[exchange]

    def forget(self, exchange: Exchange) -> None:
        """See exchange.Upstream."""
        attempt = self._attempts.pop(exchange, None)
        if attempt is not None:
            attempt.cancel()

    def report(self, exchange: Exchange, error: UpstreamError) -> None:
        """See exchange.Upstream: at most a line a second, so that a dead application does not fill the disk."""
        now = self.pools[0].deadlines.seconds()
        if now - self._logged_at < _LOG_SECONDS:
            self._unlogged += 1
            return
        unlogged, self._unlogged, self._logged_at = self._unlogged, 0, now
        self.log.warn(
            "{name}: {method} {path}: the application failed at {phase}: {reason}; answered {status}{more}",
            name=self.name,
            method=exchange.request.method.decode("ascii"),
            path=exchange.request.path.decode("ascii"),
            phase=error.phase,
            reason=str(error),
            status=error.status,
            more=f" (and {unlogged} more since the last such line)" if unlogged else "",
        )

    def close(self) -> None:
        """Close what is idle, and the rest when it becomes so."""
        for pool in self.pools:
            pool.close()


class _Attempt:
    """An exchange on its way to a new connection: each address is tried once."""

    def __init__(self, upstream: Upstream, exchange: Exchange, pools: list[Pool]) -> None:
        self._upstream = upstream
        self._exchange = exchange
        self._pools = iter(pools)
        self._pool: Any = None
        self._dial: Dial | None = None
        self._failures: list[str] = []

    def next(self) -> None:
        """Try the next address, or give up."""
        pool = next(self._pools, None)
        if pool is None:
            self._upstream.settled(self._exchange)
            self._exchange.upstream_failed(UpstreamError("connect", "; ".join(self._failures)))
            return
        self._pool = pool
        self._dial = pool.dial(self._connected, self._failed)

    def cancel(self) -> None:
        """The exchange is over."""
        if self._dial is not None:
            self._dial.cancel()

    def _connected(self, connection: UpstreamConnection) -> None:
        self._upstream.settled(self._exchange)
        self._exchange.upstream_ready(connection)

    def _failed(self, error: UpstreamError) -> None:
        self._failures.append(f"{self._pool.address}: {error}")
        self.next()
