"""One address of an upstream: its pool, and all that is known of whether it is to be asked."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from appliance.config import PassiveCheck
from appliance.errors import RefusedError, UpstreamError
from appliance.proxy.dial import CONNECT, LOCAL, Dial
from appliance.proxy.exchange import Carrier
from appliance.proxy.health import IN, OUT, TRIAL, Health
from appliance.proxy.pool import Pool

_RECONNECT = ((5.0, 0.05), (60.0, 0.2), (float("inf"), 1.0))
"""Until so many seconds after the first refusal, the pause between two attempts to connect."""

_QUICKLY = 0.05
"""Seconds."""

_UNSTEADY = 1.0
"""An address that accepted for less, in seconds, is not written about again: an overloaded one goes to and fro."""

_FALL = 2
"""So many health checks in a row must fail."""


class Owner(Protocol):
    """The upstream an address belongs to."""

    @property
    def wanted(self) -> bool:
        """Whether requests are under way, or wait: though it was closed."""

    def changed(self) -> None:
        """An address is to be asked, or no longer."""

    def last_standing(self, member: Member) -> bool:
        """Whether no other address could take over."""

    def cooled(self, member: Member) -> None:
        """An address is due for its trial."""

    def reached(self, member: Member, connection: Carrier) -> None:
        """An address accepts connections again; the first one."""

    def freed(self) -> None:
        """A connection, or room for one, has become free."""


class Member:
    """An address. It counts as *accepting* until it refuses a connection, and as *healthy* until checks say no."""

    log = Logger()

    def __init__(self, owner: Owner, name: str, pool: Pool, passive: PassiveCheck, try_for: float) -> None:
        """``name`` is the upstream's, for the log."""
        self.pool = pool
        self.key = str(pool.address)
        self.weight = pool.address.weight
        self.accepting = True
        self.refusal: UpstreamError | None = None
        """Why it does not accept."""
        self.refuses_quickly = False
        """Whether asking it costs next to nothing: nobody listens, rather than nobody answers."""
        self.refusing_since = 0.0
        self._accepting_since = float("-inf")
        self._told = False
        self._owner = owner
        self._name = name
        self._try_for = try_for
        self._passive = passive
        self._health = Health(passive.failures, passive.window)
        self._cooling: IDelayedCall | None = None
        self._misses = 0
        self._passing = True
        self._reconnecting: IDelayedCall | None = None
        self._dial: Dial | None = None
        self._stopped = False
        pool.blamed = self.failed

    @property
    def busy(self) -> int:
        """How much is being asked of it."""
        return self.pool.busy

    @property
    def healthy(self) -> bool:
        """Whether checks, active and passive, leave it in."""
        return self._passing and self._health.state == IN

    @property
    def transient(self) -> bool:
        """Whether what it refuses for may be over soon."""
        return self.refusal is not None and self.refusal.phase == CONNECT

    # --- connections refused ---

    def refused(self, error: UpstreamError, took: float) -> None:
        """A connection could not be opened, which took so many seconds. From now on this tries, until one can.

        Where nobody listens, no connection is kept: an application that ends waits until nothing is open any more, and
        Uvicorn for one that it has just accepted as long as that is used.
        """
        self.refusal = error
        if isinstance(error, RefusedError):
            self.pool.leave()
        self.refuses_quickly = took < _QUICKLY
        if not self.accepting:
            return
        self.accepting = False
        accepted_for = self.pool.deadlines.seconds() - self._accepting_since
        self.refusing_since = self.pool.deadlines.seconds()
        self._told = accepted_for > _UNSTEADY
        if self._told:
            self._tell_refusal(error)
        self._owner.changed()
        self._reconnect_later()

    def _tell_refusal(self, error: UpstreamError) -> None:
        patience = f"; requests wait for up to {self._try_for:g} s" if self.transient and self._try_for else ""
        self.log.warn(
            "{name}: {address} cannot be reached: {reason}{patience}",
            name=self._name,
            address=self.key,
            reason=str(error),
            patience=patience,
        )

    def _reconnect_later(self) -> None:
        if self._reconnecting is not None or (self._stopped and not self._owner.wanted):
            return
        since = self.pool.deadlines.seconds() - self.refusing_since
        pause = next(pause for until, pause in _RECONNECT if since < until)
        self._reconnecting = self.pool.reactor.callLater(pause if self.transient else 1.0, self._reconnect)

    def _reconnect(self) -> None:
        self._reconnecting = None
        self._dial = dial = self.pool.dial(self._reached, self._missed)
        dial.start()

    def _missed(self, error: UpstreamError) -> None:
        dial, self._dial = self._dial, None
        assert dial is not None
        if error.phase != LOCAL:
            self.refused(error, dial.took)
        self._reconnect_later()

    def _reached(self, connection: Carrier | None) -> None:
        self._dial = None
        self._accepts()
        if connection is not None:
            self._owner.reached(self, connection)

    def connected(self) -> None:
        """A connection was opened for a request."""
        if not self.accepting:
            self._stop_reconnecting()
            self._accepts()

    def _accepts(self) -> None:
        self.accepting = True
        self.refusal = None
        self.pool.stay()
        self._accepting_since = now = self.pool.deadlines.seconds()
        if self._told:
            self.log.info(
                "{name}: {address} accepts connections again, after {seconds:.1f} s",
                name=self._name,
                address=self.key,
                seconds=now - self.refusing_since,
            )
        self._health = Health(self._passive.failures, self._passive.window)  # it has probably been restarted
        self._owner.changed()

    # --- requests unanswered ---

    def failed(self, error: UpstreamError) -> None:
        """A request was not answered, by the address's own fault."""
        if not self._health.failed(self.pool.deadlines.seconds(), self._owner.last_standing(self)):
            return
        self.log.warn(
            "{name}: {address} gets no requests for {cool_down:g} s: {reason}",
            name=self._name,
            address=self.key,
            cool_down=self._passive.cool_down,
            reason=str(error),
        )
        self._cool_down()
        self._owner.changed()

    def _cool_down(self) -> None:
        if self._cooling is None and not self._stopped:
            self._cooling = self.pool.reactor.callLater(self._passive.cool_down, self._cooled)

    def _cooled(self) -> None:
        """Ask for a request to try it with; and for another one, should that tell nothing."""
        self._cooling = None
        if self._health.state == OUT:
            self._health.cooled()
        if self._health.state == TRIAL:
            self._cool_down()
            self._owner.cooled(self)

    @property
    def on_trial(self) -> bool:
        """Whether the next answered request takes it back in."""
        return self._health.state == TRIAL

    def watch(self, waiting: bool) -> None:
        """Look at connections that become free only while somebody is interested: there are many."""
        self.pool.freed = self._freed if waiting or self.on_trial else None

    def _freed(self, connection: Carrier | None) -> None:
        answered = connection is not None and 0 < connection.exchanges == connection.answers
        if answered and self._health.answered():
            self.log.info("{name}: {address} answers again", name=self._name, address=self.key)
            self._owner.changed()
        self._owner.freed()

    # --- health checks ---

    def checked(self, wrong: str) -> None:
        """The outcome of a health check: what is wrong, or nothing."""
        self._misses = self._misses + 1 if wrong else 0
        passing = self._misses < _FALL if self._passing else not wrong
        if passing == self._passing:
            return
        self._passing = passing
        if passing:
            self.log.info("{name}: {address} passes its health check", name=self._name, address=self.key)
        else:
            self.log.warn(
                "{name}: {address} fails its health check: {wrong}", name=self._name, address=self.key, wrong=wrong
            )
        self._owner.changed()

    # --- another configuration ---

    def take_over(self, before: Member) -> None:
        """Go on with what is known of the address by the member whose place this takes: it is asked no sooner."""
        self._passing, self._misses = before._passing, before._misses
        if before._health.state != IN and before._passive == self._passive:
            self._health = before._health
            self._cool_down()
        if before.refusal is not None and not before.accepting:
            self.refused(before.refusal, 0.0 if before.refuses_quickly else _QUICKLY)
            self.refusing_since = before.refusing_since
        self._owner.changed()

    # --- the end ---

    def stop(self) -> None:
        """Try nothing any more."""
        self._stopped = True
        self._stop_reconnecting()
        if self._cooling is not None:
            self._cooling.cancel()
            self._cooling = None

    def _stop_reconnecting(self) -> None:
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            self._reconnecting = None
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
