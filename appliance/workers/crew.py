"""The workers of the main process, which is one more itself: started, kept in step, replaced when they crash.

What they share is told to each of them, by whoever owns it: the configuration (`configured`), certificates, challenges
and the switch for maintenance (`shared`). A worker that cannot do as it is told, or is silent, is ended and replaced:
there is none that is out of step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from appliance.config import Configuration
from appliance.ops.metrics.counts import Counts
from appliance.ops.metrics.sum import FiguresError, add
from appliance.workers import messages
from appliance.workers.member import LISTENERS, Figures, Member, read_figures
from appliance.workers.messages import Document, LogTo, Message, SaidError, told
from appliance.workers.talk import GoneError, RefusedError

PATIENCE = 30.0
"""Seconds that a worker may be silent, or take for what it is told: reports come each second."""
_LOOK_SECONDS = 1.0
_LEAVING = 2.0

QUICK = 10.0
"""Seconds: a worker that ends sooner is replaced only after a while, which doubles each time."""
LONGEST_DELAY = 30.0

_AT_ONCE = 100
"""So many certificates are told in one turn."""
_GRACE = 5.0
"""Seconds that a worker's end may take beyond what it was given."""

_log = Logger()


class Shared(Protocol):
    """What a worker must know from its beginning: `app` has it."""

    @property
    def configuration(self) -> Configuration:
        """The one that applies."""

    def sockets(self) -> Mapping[str, int]:
        """Clients' listening sockets, by endpoint."""

    @property
    def closed(self) -> frozenset[str]:
        """Sites in maintenance by the switch."""

    def challenges(self) -> Iterable[Message]:
        """Those being presented."""

    def certificates(self) -> Iterator[Message]:
        """What is served for each site, each made when it is asked for."""


@frozen
class Setting:
    """How workers are started."""

    log: LogTo
    log_descriptor: int
    environment: Mapping[str, str]


class Crew(Service):
    """The one owner of worker processes: ``size`` of them while it runs. Of size 0 it does nothing at all."""

    def __init__(
        self, reactor: Any, size: int, setting: Setting | None = None, make: Callable[..., Member] = Member
    ) -> None:
        """``make`` makes one that is not started yet."""
        self._reactor = reactor
        self._make = make
        self._setting = setting
        self.size = size if setting is not None else 0
        self._members: list[Member] = []
        self._shared: Shared | None = None
        self._counts: Counts | None = None
        self._gone = Figures()
        """The sums of those that have ended."""
        self._quick = 0
        """So many in a row have ended soon after their start."""
        self._later: list[IDelayedCall] = []
        self._complete = False
        """Whether those that end are replaced."""
        self._left = False
        """Whether this process accepts nobody any more."""
        self._ended: list[Deferred[None]] = []
        self._known: frozenset[str] = frozenset()
        """The endpoints whose sockets the workers have."""
        self.replaced = 0
        """So many have crashed."""
        self._looked: float = reactor.seconds()
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor

    def attach(self, shared: Shared, counts: Counts | None) -> None:
        """Say what workers are to know, and what their requests are counted by; before the start."""
        self._shared, self._counts = shared, counts

    def begin(self) -> None:
        """Start the workers: certificates are known, and standard error is what it stays. Nobody is after `leave`."""
        if self.size and self.running and not self._complete and not self._left:
            self._complete = True
            self._looked = self._reactor.seconds()
            self._looking.start(_LOOK_SECONDS, now=False)
            for _ in range(self.size):
                self._start()

    def __len__(self) -> int:
        """How many processes there are, those that are about to end among them."""
        return len(self._members)

    # --- what they are told ---

    def tell(self, message: Callable[[], Message], descriptors: Sequence[int] = ()) -> Deferred[None]:
        """Have each do that. Fires when all have that are there by then; never fails."""
        if not self._members:
            return succeed(None)
        sent = told(message())
        telling = [self._tell(member, sent, descriptors) for member in list(self._members)]
        done: Deferred[None] = Deferred()  # whoever gives up waiting does not cancel what is told
        DeferredList(telling).addCallback(lambda _: done.callback(None))
        return done

    def in_step(self) -> Deferred[None]:
        """Fires when all have done what they were told until now."""
        return self.tell(messages.Answer)

    def change(self, configuration: Configuration) -> Deferred[None]:
        """Have another configuration, which the main process has already. As `tell`."""
        if not self._members or self._shared is None:
            return succeed(None)
        sockets = self._shared.sockets()
        new = [endpoint for endpoint in sockets if endpoint not in self._known]
        self._known = frozenset(sockets)
        message = messages.Change(configuration, tuple(new))
        return self.tell(lambda: message, [sockets[endpoint] for endpoint in new])

    def leave(self) -> Deferred[None]:
        """Have them accept nobody any more, and replace none. One that hangs is not waited for."""
        self._complete, self._left = False, True
        for call in self._later:
            if call.active():
                call.cancel()
        leaving = self.tell(messages.Leave)
        return leaving.addTimeout(_LEAVING, self._reactor, onTimeoutCancel=lambda result, timeout: None)

    async def retire(self, patience: float) -> None:
        """Return when they have ended, each with its last client, or after ``patience`` seconds."""
        await self._go(messages.Retire(patience), patience)

    async def drain(self, patience: float) -> None:
        """Return when they have ended, each after what is under way, or after ``patience`` seconds."""
        await self._go(messages.Drain(patience), patience)

    def hurry(self) -> None:
        """Cut off what `drain` waits for."""
        self.tell(messages.Hurry)

    async def _go(self, message: Message, patience: float) -> None:
        if not self._members:
            return
        for member in self._members:
            member.leaving = True
        self.tell(lambda: message)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        ended.addTimeout(patience + _GRACE, self._reactor, onTimeoutCancel=lambda result, timeout: None)
        await ended

    def _tell(self, member: Member, sent: bytes, descriptors: Sequence[int] = ()) -> Deferred[None]:
        doing = member.tell(sent, descriptors)
        doing.addTimeout(PATIENCE, self._reactor)
        return doing.addErrback(self._out_of_step, member)

    def _out_of_step(self, failure: Failure, member: Member) -> None:
        if failure.check(GoneError):
            return
        why = failure.value if failure.check(RefusedError) else f"no answer within {PATIENCE:.0f} s"
        _log.error("worker {pid} did not do what it was told, and is ended: {why}", pid=member.pid, why=why)
        member.kill()

    # --- from the start of one to its end ---

    def _start(self) -> None:
        assert self._setting is not None
        assert self._shared is not None
        member = self._make(self._reactor, self._heard, self._has_ended)
        try:
            member.start(self._setting.environment, self._setting.log_descriptor)
        except OSError as error:
            _log.error("a worker could not be started: {error}", error=error)
            self._replace(quick=True)
            return
        self._members.append(member)
        bringing = Deferred.fromCoroutine(self._bring_up(member, self._shared, self._setting))
        bringing.addErrback(self._broken, member)

    async def _bring_up(self, member: Member, shared: Shared, setting: Setting) -> None:
        """Tell it all there is to know. What changes meanwhile it is told after this, or twice."""
        sockets = shared.sockets()
        self._known = frozenset(sockets)
        begin = messages.Begin(shared.configuration, tuple(sockets), shared.closed, setting.log)
        self._tell(member, told(begin), list(sockets.values()))
        for challenge in shared.challenges():
            self._tell(member, told(challenge))
        pending: list[Deferred[None]] = []
        for certificate in shared.certificates():
            pending.append(self._tell(member, told(certificate)))
            if len(pending) == 2 * _AT_ONCE:  # so that it has something to do while we do something else
                await gatherResults(pending[:_AT_ONCE])
                del pending[:_AT_ONCE]
                await deferLater(self._reactor, 0)
        try:
            await member.tell(messages.Accept())
        except (GoneError, RefusedError):
            return
        member.serving = True
        _log.info("worker {pid} serves", pid=member.pid)

    def _broken(self, failure: Failure, member: Member) -> None:
        _log.failure("unexpected error with worker {pid}", failure, pid=member.pid)
        member.kill()

    def _has_ended(self, member: Member, how: str) -> None:
        self._members.remove(member)
        self._keep(member.figures)
        if not self._members:
            waiting, self._ended = self._ended, []
            for ended in waiting:
                ended.callback(None)
        if member.leaving or not self._complete:
            return
        self.replaced += 1
        quick = self._reactor.seconds() - member.began < QUICK
        _log.error("worker {pid} has ended ({how}); another takes its place", pid=member.pid, how=how)
        self._replace(quick)

    def _replace(self, quick: bool) -> None:
        """At once, but for those that end one after the other."""
        delay = min(LONGEST_DELAY, 2.0 ** (self._quick - 1)) if quick and self._quick else 0.0
        self._quick = self._quick + 1 if quick else 0
        self._later = [call for call in self._later if call.active()]
        self._later.append(self._reactor.callLater(delay, self._start))

    def _keep(self, last: Figures) -> None:
        """Counters do not go back when a worker ends."""
        gone = self._gone
        accepted = {name: gone.accepted[name] + last.accepted[name] for name in LISTENERS}
        self._gone = Figures(
            accepted=accepted, refused=gone.refused + last.refused, lost_lines=gone.lost_lines + last.lost_lines
        )

    def stopService(self) -> None:
        """End whoever is left."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._complete = False
        if self._looking.running:
            self._looking.stop()
        for call in self._later:
            if call.active():
                call.cancel()
        for member in self._members:
            member.leaving = True
            member.kill()

    # --- what they say ---

    def _heard(self, member: Member, document: Document) -> None:
        member.heard = self._reactor.seconds()
        member.figures = read_figures(document)
        counts = document.get("counts")
        if self._counts is not None and isinstance(counts, dict):
            try:
                add(self._counts, counts)
            except FiguresError as error:
                raise SaidError(str(error)) from error
        if document.get("end") is True:
            member.close()

    def _look(self) -> None:
        """End those that hang; but where this process itself was stopped, hear what they have said meanwhile first."""
        before, self._looked = self._looked, self._reactor.seconds()
        if self._looked - before > PATIENCE / 2:
            for member in self._members:
                member.heard = self._looked
        for member in self._members:
            if self._reactor.seconds() - member.heard > PATIENCE:
                _log.error(
                    "worker {pid} was silent for {patience:.0f} s, and is ended", pid=member.pid, patience=PATIENCE
                )
                member.kill()

    # --- what they are together ---

    def connections(self, listener: str) -> int:
        """Clients' connections to workers, of one kind of listener."""
        return sum(member.figures.connections[listener] for member in self._members)

    def accepted(self, listener: str) -> int:
        """Clients' connections that workers have accepted so far."""
        return sum(each.accepted[listener] for each in self._all())

    @property
    def in_flight(self) -> int:
        """Requests and tunnels under way in workers."""
        return sum(member.figures.in_flight for member in self._members)

    @property
    def refused(self) -> int:
        """Connections beyond their bounds."""
        return sum(each.refused for each in self._all())

    @property
    def lost_lines(self) -> int:
        """Of the access log."""
        return sum(each.lost_lines for each in self._all())

    def _all(self) -> Iterator[Figures]:
        yield self._gone
        for member in self._members:
            yield member.figures

    def document(self) -> Document | None:
        """For the status; None where there are no workers."""
        if not self.size:
            return None
        return {
            "configured": self.size + 1,
            "serving": 1 + sum(member.serving and not member.leaving for member in self._members),
            "replaced": self.replaced,
            "processes": [
                {"pid": member.pid, "serving": member.serving, "connections": sum(member.figures.connections.values())}
                for member in self._members
            ],
        }


class _Clients(Protocol):
    """`net.listener.ClientFactory`, as far as it is counted."""

    @property
    def accepted(self) -> int:
        """Connections so far."""

    @property
    def open(self) -> Sized:
        """Those that stand."""


class AllClients:
    """Clients of one kind of listener in all processes."""

    def __init__(self, crew: Crew, name: str, own: _Clients) -> None:
        self._crew = crew
        self._name = name
        self._own = own

    @property
    def accepted(self) -> int:
        """Connections so far."""
        return self._own.accepted + self._crew.accepted(self._name)

    @property
    def open(self) -> Sized:
        """As many as stand."""
        return range(len(self._own.open) + self._crew.connections(self._name))


def environment() -> dict[str, str]:
    """What a worker's interpreter needs to find the same modules as this one."""
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
