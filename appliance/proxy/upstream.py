"""The application behind a route: its addresses, which of them is asked, and what happens when none can be.

A request gets an idle connection of the address chosen for it, or has one opened. Where no address accepts connections,
or all have as many as they may, it waits in a queue: for `Backend.try_for` in the first case, for the connect timeout
in the second.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from random import random

from twisted.logger import Logger

from appliance.config import Backend
from appliance.errors import UpstreamError
from appliance.http.errorpages import Identify
from appliance.net.deadlines import NEVER
from appliance.proxy.dial import LOCAL, Dial
from appliance.proxy.exchange import Carrier, Exchange
from appliance.proxy.member import Member
from appliance.proxy.pool import Pool
from appliance.proxy.selection import Balance, balance_named

_NOBODY: OrderedDict[_Attempt, None] = OrderedDict()
"""The queue of an application that nobody waits for, as for most of thousands."""
_LOG_SECONDS = 1.0

_REPLAYS = 3
"""How often one request may be sent again: a restart can need two, and a request that kills its worker kills few."""

IMPATIENT = Backend(try_for=0.0)


class Upstream:
    """Hands out connections of its pools; an address that cannot be reached is passed over until it can."""

    log = Logger()

    def __init__(
        self,
        name: str,
        pools: Sequence[Pool],
        backend: Backend = IMPATIENT,
        *,
        random: Callable[[], float] = random,
        identify: Identify | None = None,
    ) -> None:
        """``identify`` tells a request's id for the log: the one that its error page has."""
        self.name = name
        """How it is called in the log: the site and route."""
        self.pools = tuple(pools)
        self.backend = backend
        self._identify = identify
        self.members = tuple(Member(self, name, pool, backend.passive_check, backend.try_for) for pool in pools)
        self._deadlines = self.pools[0].deadlines
        self._balance: Balance[Member] = balance_named(backend.balance, random)
        self._standing = self.members
        self._only = self.members[0] if len(self.members) == 1 else None
        self._trials: list[Member] = []
        self._attempts: dict[Exchange, _Attempt] = {}
        self._queue = _NOBODY
        self._closing = False
        self._logged_at = float("-inf")
        self._unlogged = 0

    @property
    def wanted(self) -> bool:
        """Whether requests are under way, or wait."""
        return bool(self._attempts)

    @property
    def waiting(self) -> int:
        """How many requests wait for an address, or for a free connection."""
        return len(self._queue)

    # --- from the exchange ---

    def acquire(self, exchange: Exchange, fresh: bool) -> None:
        """See exchange.Upstream."""
        member = self._only or self._choose(exchange)
        if not fresh:
            connection = member.pool.take_idle(not exchange.replayable)
            if connection is not None:
                exchange.upstream_ready(connection)
                return
        attempt = self._attempts[exchange] = _Attempt(self, exchange)
        attempt.go(member)

    def may_replay(self, connection: Carrier, sent: float, replays: int) -> bool:
        """See exchange.Upstream: an application that restarts closes idle connections, and then those it never took."""
        if not replays and connection.exchanges > 1:
            return True
        return replays < _REPLAYS and self._deadlines.seconds() - sent < self.backend.try_for

    def forget(self, exchange: Exchange) -> None:
        """See exchange.Upstream."""
        attempt = self._attempts.pop(exchange, None)
        if attempt is not None:
            attempt.cancel()
            self._settled()

    def report(self, exchange: Exchange, error: UpstreamError) -> None:
        """See exchange.Upstream: at most a line a second, so that a dead application does not fill the disk."""
        now = self._deadlines.seconds()
        if now - self._logged_at < _LOG_SECONDS:
            self._unlogged += 1
            return
        unlogged, self._unlogged, self._logged_at = self._unlogged, 0, now
        self.log.warn(
            "{name}: {method} {path}: {culprit} failed at {phase}: {reason}; answered {status}{request}{more}",
            name=self.name,
            method=exchange.request.method.decode("ascii"),
            path=exchange.request.path.decode("ascii"),
            culprit="this machine" if error.phase == LOCAL else "the application",
            phase="connect" if error.phase == LOCAL else error.phase,
            reason=str(error),
            status=error.status,
            request=f", request {self._identify(exchange.request)}" if self._identify is not None else "",
            more=f" (and {unlogged} more since the last such line)" if unlogged else "",
        )

    # --- the choice ---

    def _choose(self, exchange: Exchange) -> Member:
        """The address that is to have a request."""
        if self._trials and exchange.replayable:
            member = self._trials.pop()
            if member.accepting and member.on_trial:
                return member
        return self._balance.choose(self._standing or self.members, exchange.client)

    def ready(self, exchange: Exchange) -> Member | None:
        """An address that accepts connections and may have one more; healthy ones first."""
        ready = [member for member in self.members if member.accepting and member.pool.ready]
        ready = [member for member in ready if member.healthy] or ready
        return self._balance.choose(ready, exchange.client) if ready else None

    # --- from its addresses; see member.Owner ---

    def changed(self) -> None:
        """An address is to be asked, or no longer. Where checks leave none, they may be wrong: ask all that accept."""
        accepting = tuple(member for member in self.members if member.accepting)
        self._standing = tuple(member for member in accepting if member.healthy) or accepting
        self._watch()

    def last_standing(self, member: Member) -> bool:
        """Whether no other address could take over."""
        return not any(other.accepting and other.healthy for other in self.members if other is not member)

    def cooled(self, member: Member) -> None:
        """An address is due for its trial: by the next request that could be sent again."""
        if member not in self._trials:
            self._trials.append(member)
        self._watch()

    def reached(self, member: Member, connection: Carrier) -> None:
        """An address accepts connections again: the first one is for whoever waited longest."""
        if self._queue:
            connection.deadline = self._deadlines.seconds() + member.pool.timeouts.upstream_idle
            member.pool.released(connection)
        else:
            connection.close()  # a worker that serves one connection at a time would wait on it
        self.freed()

    def freed(self) -> None:
        """Serve those who wait, in their order, for as long as there is something for them."""
        while self._queue:
            attempt = next(iter(self._queue))
            member = self.ready(attempt.exchange)
            if member is None:
                return
            self._leave_queue(attempt)
            attempt.serve(member)

    # --- from its attempts ---

    def ended(self, attempt: _Attempt) -> Exchange:
        """An attempt is over; its exchange is to be told."""
        del self._attempts[attempt.exchange]
        self._settled()
        return attempt.exchange

    def wait(self, attempt: _Attempt) -> None:
        """Queue an attempt that no address can have now, or fail it."""
        now = self._deadlines.seconds()
        refusing = all(not member.accepting for member in self.members)
        if refusing and not self._is_hopeful(attempt, now):
            quick = next((member for member in self.members if member.refuses_quickly and member.pool.room), None)
            if quick is None or attempt.give_up < NEVER:
                attempt.fail(self.refusal())
            else:  # it may have come back this very moment
                attempt.give_up = now
                attempt.open(quick)
        elif len(self._queue) >= self.backend.max_waiting:
            attempt.fail(UpstreamError("queue", f"{len(self._queue)} requests wait for it already", 503))
        else:
            patience = self.backend.try_for if refusing else self.pools[0].timeouts.connect
            attempt.deadline = attempt.give_up = min(attempt.give_up, now + patience)
            if self._queue is _NOBODY:
                self._queue = OrderedDict()
            self._queue[attempt] = None
            self._deadlines.add(attempt)
            if len(self._queue) == 1:
                self._watch()

    def _is_hopeful(self, attempt: _Attempt, now: float) -> bool:
        """Whether some address may accept connections soon: it refuses for a passing reason, and not for long yet."""
        return now < attempt.give_up and any(
            member.transient and now - member.refusing_since < self.backend.try_for for member in self.members
        )

    def refusal(self) -> UpstreamError:
        """Why an attempt failed: what each address last said."""
        reasons = [f"{member.key}: {member.refusal}" for member in self.members if member.refusal is not None]
        if reasons:
            return UpstreamError("connect", "; ".join(reasons))
        return UpstreamError("queue", "it has as many connections as it may, and none became free", 503)

    def leave_queue(self, attempt: _Attempt) -> None:
        """An attempt waits no longer."""
        if attempt in self._queue:
            self._leave_queue(attempt)

    def _leave_queue(self, attempt: _Attempt) -> None:
        del self._queue[attempt]
        attempt.deadline = NEVER
        self._deadlines.discard(attempt)
        if not self._queue:
            self._watch()

    def _watch(self) -> None:
        waiting = bool(self._queue)
        for member in self.members:
            member.watch(waiting)

    def unchecked(self) -> None:
        """There are no health checks any more: what they found does not count."""
        for member in self.members:
            member.checked("")

    def take_over(self, before: Upstream) -> None:
        """Take another one's place, with what is known of the addresses that both have."""
        known = {member.pool.address: member for member in before.members}
        for member in self.members:
            if member.pool.address in known:
                member.take_over(known[member.pool.address])

    # --- the end ---

    def close(self) -> None:
        """Close what is idle, and the rest when it becomes so. Requests that wait go on waiting."""
        self._closing = True
        self._settled()
        for pool in self.pools:
            pool.close()

    def _settled(self) -> None:
        if self._closing and not self._attempts:
            for member in self.members:
                member.stop()


class _Attempt:
    """An exchange on its way to a connection that is not there yet."""

    __slots__ = ("_dial", "_member", "_upstream", "deadline", "exchange", "give_up")

    def __init__(self, upstream: Upstream, exchange: Exchange) -> None:
        self._upstream = upstream
        self.exchange = exchange
        self._member: Member | None = None
        self._dial: Dial | None = None
        self.deadline = NEVER
        self.give_up = NEVER
        """When it has waited long enough, once it had to."""

    def go(self, member: Member | None) -> None:
        """Open a connection to ``member`` if it can be, to another address if not, or wait."""
        if member is None or not member.accepting or not member.pool.room:
            member = self._upstream.ready(self.exchange)
            if member is None:
                self._upstream.wait(self)
            else:
                self.serve(member)
        else:
            self.open(member)

    def open(self, member: Member) -> None:
        """Open a connection to ``member``, whatever became of the last one."""
        self._member = member
        ends = self.exchange.ends if member.pool.announces else None
        self._dial = dial = member.pool.dial(self._connected, self._failed, ends)
        dial.start()

    def serve(self, member: Member) -> None:
        """It is its turn, and ``member`` has something for it."""
        connection = member.pool.take_idle(not self.exchange.replayable)
        if connection is not None:
            self._upstream.ended(self).upstream_ready(connection)
        elif member.pool.room:
            self.open(member)
        else:
            self._upstream.wait(self)

    def fail(self, error: UpstreamError) -> None:
        """There is no connection to be had."""
        self._upstream.ended(self).upstream_failed(error)

    def cancel(self) -> None:
        """The exchange is over."""
        self._upstream.leave_queue(self)
        if self._dial is not None:
            self._dial.cancel()

    def expire(self, now: float) -> None:
        """It has waited for long enough; see Deadlines."""
        self._upstream.leave_queue(self)
        self.fail(self._upstream.refusal())

    def _connected(self, connection: Carrier | None) -> None:
        self._dial = None
        assert self._member is not None
        self._member.connected()
        if connection is None:
            self.go(None)
            return
        self._upstream.ended(self).upstream_ready(connection)

    def _failed(self, error: UpstreamError) -> None:
        dial, self._dial = self._dial, None
        assert self._member is not None
        assert dial is not None
        if error.phase == LOCAL:
            self.fail(error)
            return
        self._member.refused(error, dial.took)
        self.go(None)
