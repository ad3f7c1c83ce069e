"""A worker: serves clients as it is told, and owns nothing that lasts. Its process ends when the main one's does."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from appliance.acme.challenges import ChallengeResponse, PendingChallenges, PresentedChallenge
from appliance.acme.tlsalpn import TlsAlpnChallenges
from appliance.config import Configuration
from appliance.dataplane import DataPlane, protocols
from appliance.errors import ApplianceError
from appliance.ops.metrics.sum import take
from appliance.process.inheritance import Inheritance
from appliance.tls.certificate import Certificate
from appliance.tls.snimap import SniMap
from appliance.workers import messages
from appliance.workers.messages import Begin, Document, LogTo, Message, Present, hear
from appliance.workers.talk import WorkerEnd

REPORT_SECONDS = 1.0

_log = Logger()


class Worker:
    """Does what it is told over ``talk``, which is attached to the socket that the main process left."""

    def __init__(
        self, reactor: Any, now: Callable[[], datetime], log: Callable[[LogTo], None], end: Callable[[], None]
    ) -> None:
        """``log`` begins the log; ``end`` ends the process."""
        self._reactor = reactor
        self._now = now
        self._log = log
        self._plane: DataPlane | None = None
        self._configuration = Configuration(())
        self._inherited = Inheritance()
        self._certificates = SniMap()
        self._challenges = PendingChallenges()
        self._tls_challenges = TlsAlpnChallenges(now)
        self._certified: Deferred[None] = Deferred()
        self._reporting = LoopingCall(self._report)
        self._reporting.clock = reactor
        self._ending = False
        self.talk = WorkerEnd(self._do, end)

    async def _do(self, data: bytes) -> None:
        message = hear(data)
        if isinstance(message, Begin):
            self._begin(message)
        elif self._plane is None:
            raise ApplianceError("a worker is told something before its configuration")
        else:
            await self._act(message, self._plane)

    async def _act(self, message: Message, plane: DataPlane) -> None:
        match message:
            case messages.Swap(site, names, pem):
                self._certificates.swap(site, names, Certificate.from_pem(pem))
            case messages.Remove(site):
                self._certificates.remove(site)
            case messages.Accept():
                self._certified.callback(None)
            case messages.Present() as challenge:
                await self._responder(challenge).start_responding(*_arguments(challenge))
            case messages.Withdraw(challenge):
                await self._responder(challenge).stop_responding(*_arguments(challenge))
            case messages.Close(sites):
                plane.assembly.close(sites)
            case messages.Change(configuration, endpoints):
                self._change(plane, _served(configuration), endpoints)
            case messages.ReopenLogs():
                plane.watch.reopen_logs()
            case messages.Leave():
                await _stop_accepting(plane)
            case messages.Drain(patience):
                _logged(self._drain(plane, patience))
            case messages.Retire(patience):
                _logged(self._retire(plane, patience))
            case messages.Hurry():
                plane.draining.hurry()
            case _:
                pass

    def _begin(self, message: Begin) -> None:
        self._log(message.log)
        configuration = self._configuration = _served(message.configuration)
        self._inherit(message.endpoints)
        self._certificates = SniMap(self._tls_challenges, protocols=protocols(configuration.listen))

        def defer(work: Callable[[], Any], /) -> Deferred[Any]:
            return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)

        plane = DataPlane(
            self._reactor,
            configuration,
            defer,
            self._now,
            self._certificates,
            self._challenges,
            self._when_certified,
            self._inherited,
        )
        plane.assembly.close(message.closed)
        for service in plane.services:
            service.privilegedStartService()
            service.startService()
        self._plane = plane
        self._reporting.start(REPORT_SECONDS)

    def _change(self, plane: DataPlane, wanted: Configuration, endpoints: tuple[str, ...]) -> None:
        self._inherit(endpoints)
        prepared = plane.prepare(wanted)
        before, self._configuration = self._configuration, wanted
        plane.apply(before, wanted, prepared)
        self._inherited.close()

    def _inherit(self, endpoints: tuple[str, ...]) -> None:
        self._inherited.sockets.update(zip(endpoints, self.talk.take(len(endpoints)), strict=True))

    def _when_certified(self) -> Deferred[None]:
        """See `Listener`."""
        waiting: Deferred[None] = Deferred()
        self._certified.addCallback(waiting.callback)
        return waiting

    def _responder(self, challenge: Present) -> PendingChallenges | TlsAlpnChallenges:
        return self._tls_challenges if challenge.kind == self._tls_challenges.challenge_type else self._challenges

    async def _retire(self, plane: DataPlane, patience: float) -> None:
        await _stop_accepting(plane)
        await plane.draining.retire(patience)
        if not plane.draining.left:  # else the main process will have them drained
            await self._end(plane)

    async def _drain(self, plane: DataPlane, patience: float) -> None:
        await _stop_accepting(plane)
        await plane.draining.drain(patience)
        await self._end(plane)

    async def _end(self, plane: DataPlane) -> None:
        """Stop everything, and say the last figures: the main process ends it then."""
        if self._ending:
            return
        self._ending = True
        self._reporting.stop()
        for service in reversed(plane.services):
            if service.running:
                await maybeDeferred(service.stopService)
        self.talk.report(self._figures(plane) | {"end": True})

    def _report(self) -> None:
        if self._plane is not None:
            self.talk.report(self._figures(self._plane))

    def _figures(self, plane: DataPlane) -> Document:
        watch, kinds = plane.watch, {"http": plane.http.clients, "https": plane.https.clients}
        figures: Document = {
            "connections": {name: len(clients.open) for name, clients in kinds.items()},
            "accepted": {name: clients.accepted for name, clients in kinds.items()},
            "in_flight": watch.observer.in_flight if watch.observer is not None else 0,
            "refused": plane.admission.refused,
            "lost_lines": watch.access_log.lost if watch.access_log is not None else 0,
        }
        if watch.observer is not None:
            watch.observer.flush()
        if watch.counts is not None:
            figures["counts"] = take(watch.counts)
        return figures


def _served(configuration: Configuration) -> Configuration:
    """What a worker makes of it: it counts, but tells nobody else of its figures."""
    metrics = configuration.metrics
    return evolve(configuration, metrics=evolve(metrics, listen=()) if metrics is not None else None)


def _logged(doing: Coroutine[Deferred[Any], Any, None]) -> None:
    """Have this done while other things are."""
    Deferred.fromCoroutine(doing).addErrback(lambda failure: _log.failure("a worker cannot end in good order", failure))


async def _stop_accepting(plane: DataPlane) -> None:
    running = [entrance for entrance in (plane.http, plane.https) if entrance.running]
    await DeferredList([entrance.stopService() for entrance in running])


def _arguments(challenge: Present) -> tuple[str, PresentedChallenge, ChallengeResponse]:
    presented = PresentedChallenge(challenge.kind, challenge.token)
    return challenge.name, presented, ChallengeResponse(challenge.key_authorization)
