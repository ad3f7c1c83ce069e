"""DNS-01 as a txacme responder: finds the record's place, has it published, waits until it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from attrs import define, evolve
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface import implementer

from appliance.acme.challenges import ChallengeResponse, PresentedChallenge
from appliance.acme.dns.lookup import AuthoritativeServer, Lookup, Sighting, checked_at
from appliance.acme.dns.propagation import wait_until_seen
from appliance.acme.dns.record import Publisher, TxtRecord, challenge_value
from appliance.config.dns import NameServer
from appliance.store import Defer

log = Logger()

QUESTIONS_AT_ONCE = 4
"""Threads in use at once: they are shared with those who write certificates."""


@define
class _Entry:
    """A record that somebody wants to be there."""

    record: TxtRecord
    holders: int = 0
    touched: bool = False
    """Whether it may be in the DNS."""
    published: bool = False


@implementer(IResponder)
class DnsResponder:
    """Publishes records through one `Publisher`.

    Changes under one name come one after the other, as many DNS services replace all values of a name at once. A record
    that several orders want is published once, and withdrawn with the last. It is withdrawn from where it was put, be
    the CNAME another by then.
    """

    challenge_type = "dns-01"

    def __init__(
        self,
        clock: IReactorTime,
        publisher: Publisher,
        lookup: Lookup,
        defer: Defer,
        propagation_timeout: float,
        nameservers: Sequence[NameServer] = (),
    ) -> None:
        """``nameservers`` are looked at instead of the zone's own. ``defer`` runs what blocks in a thread."""
        self._clock = clock
        self._publisher = publisher
        self._lookup = lookup
        self._defer = defer
        self._timeout = propagation_timeout
        self._nameservers = tuple(nameservers)
        self._questions = DeferredSemaphore(QUESTIONS_AT_ONCE)
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._locks: WeakValueDictionary[str, DeferredLock] = WeakValueDictionary()

    def start_responding(
        self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse
    ) -> Deferred[None]:
        """Fires when the record can be seen; fails with `ResponderError`, mostly. Cancel it to give up."""
        entry = self._entry(server_name, challenge, response)
        entry.holders += 1
        return Deferred.fromCoroutine(self._start(entry))

    def stop_responding(
        self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse
    ) -> Deferred[None]:
        """Fires when the record is gone, or another order holds it. Harmless for one never started."""
        entry = self._entry(server_name, challenge, response)
        entry.holders -= 1
        return Deferred.fromCoroutine(self._stop(entry))

    def _entry(self, domain: str, challenge: PresentedChallenge, response: ChallengeResponse) -> _Entry:
        name, authorization = challenge.validation_domain_name(domain), response.key_authorization
        value = challenge_value(authorization)
        record = TxtRecord(domain.removeprefix("*."), name, value, challenge.encode("token"), authorization)
        return self._entries.setdefault((name, value), _Entry(record))

    async def _start(self, entry: _Entry) -> None:
        if not entry.touched:
            place = await self._ask(partial(self._lookup.follow, entry.record.name))
            if not entry.touched:  # unless another order was faster
                entry.record = evolve(entry.record, name=place)
        async with self._lock(entry.record.name):
            if not entry.published:
                entry.touched = True
                await self._publisher.present(entry.record)
                entry.published = True
        await wait_until_seen(self._clock, partial(self._look, entry.record), entry.record.name, self._timeout)

    async def _stop(self, entry: _Entry) -> None:
        if entry.holders > 0:
            return
        self._entries = {key: each for key, each in self._entries.items() if each is not entry}
        if entry.touched:
            async with self._lock(entry.record.name):
                await self._publisher.withdraw(entry.record)

    async def _look(self, record: TxtRecord) -> Sequence[Sighting]:
        servers = checked_at(self._nameservers)
        if not servers:
            servers = await self._ask(partial(self._lookup.authoritative_servers, record.name))
        recursive = bool(self._nameservers)

        def look(server: AuthoritativeServer) -> Deferred[Sighting]:
            return self._ask(partial(self._lookup.look, server, record.name, record.value, recursive))

        return await gatherResults([look(server) for server in servers], consumeErrors=True)

    def _ask(self, question: Any) -> Deferred[Any]:
        return self._questions.run(self._defer, question)

    def _lock(self, name: str) -> DeferredLock:
        return self._locks.setdefault(name, DeferredLock())
