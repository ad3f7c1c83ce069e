"""Host names of upstreams to addresses, asked for again while the appliance runs.

Nobody waits for a name server that is known to be slow: the last good answer does, for as long as there is no better.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IHostResolution, IResolutionReceiver
from twisted.logger import Logger
from zope.interface import implementer

FRESH = 5.0
"""Seconds that an answer is used without asking again. The system's resolver does not tell how long it holds."""

PATIENCE = 1.0
"""Seconds to wait for a new answer where there is an old one."""

AT_ONCE = 4
"""Lookups under way: each holds one of the reactor's few threads, for half a minute if the name server is dead."""

Told = Callable[[tuple[str, ...], str], None]
"""Called with addresses, or with none and the reason."""


class HostNames:
    """All upstreams' names. Addresses come in the order the system prefers (RFC 6724)."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._names: dict[str, _Name] = {}
        self._running = 0
        self._queue: deque[_Name] = deque()

    def resolve(self, host: str, told: Told) -> Callable[[], None] | None:
        """Call ``told``, at once or later; what is returned, if anything, takes that back while it has not happened.

        ``localhost`` is 127.0.0.1 first: application servers listen there, and trust forwarding headers from there.
        """
        if isIPAddress(host) or isIPv6Address(host):
            told((host,), "")
            return None
        if host == "localhost":
            told(("127.0.0.1", "::1"), "")
            return None
        name = self._names.get(host)
        if name is None:
            name = self._names[host] = _Name(self, self._reactor, host)
        return name.ask(told)

    def started(self, name: _Name) -> None:
        """A name wants to be looked up: now, or when it is its turn."""
        if self._running >= AT_ONCE:
            self._queue.append(name)
            return
        self._running += 1
        self._reactor.nameResolver.resolveHostName(_Answer(name), name.host)

    def ended(self) -> None:
        """A lookup is over."""
        self._running -= 1
        if self._queue:
            self.started(self._queue.popleft())


class _Name:
    """One name: its last answer, and those who wait for the next."""

    log = Logger()

    def __init__(self, names: HostNames, reactor: Any, host: str) -> None:
        self.host = host
        self._names = names
        self._reactor = reactor
        self._addresses: tuple[str, ...] = ()
        self._answered = float("-inf")
        self._looking = False
        self._lost = False
        self._waiting: dict[object, Told] = {}
        self._patience: IDelayedCall | None = None

    def ask(self, told: Told) -> Callable[[], None] | None:
        if self._addresses and (self._reactor.seconds() - self._answered < FRESH or self._is_slow()):
            told(self._addresses, "")
            return None
        ticket = object()
        self._waiting[ticket] = told
        if not self._looking:
            self._looking = True
            if self._addresses:
                self._patience = self._reactor.callLater(PATIENCE, self._tell, "")
            self._names.started(self)
        return lambda: self._waiting.pop(ticket, None) and None

    def _is_slow(self) -> bool:
        """Whether an answer is overdue."""
        return self._looking and not (self._patience is not None and self._patience.active())

    def answered(self, addresses: tuple[str, ...]) -> None:
        """The lookup is over; no addresses: it failed."""
        self._looking = False
        self._names.ended()
        self._answered = self._reactor.seconds()
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._patience = None
        if addresses:
            self._addresses = addresses
        self._log(bool(addresses))
        self._tell(f"the name {self.host} cannot be resolved")

    def _log(self, found: bool) -> None:
        if found and self._lost:
            self.log.info("{host} can be resolved again", host=self.host)
        elif not found and not self._lost and self._addresses:
            self.log.warn("{host} cannot be resolved any more: its last addresses are used", host=self.host)
        self._lost = not found

    def _tell(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for told in waiting.values():
            told(self._addresses, "" if self._addresses else reason)


@implementer(IResolutionReceiver)
class _Answer:
    """Collects the addresses of one lookup."""

    def __init__(self, name: _Name) -> None:
        self._name = name
        self._found: dict[str, None] = {}

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See IResolutionReceiver."""

    def addressResolved(self, address: IAddress) -> None:
        """See IResolutionReceiver."""
        self._found[address.host] = None  # type: ignore[attr-defined]

    def resolutionComplete(self) -> None:
        """See IResolutionReceiver."""
        self._name.answered(tuple(self._found))
