"""The old process's side of an upgrade: it has a new one started on its listening sockets, and leaves when that serves.

At every moment one of them renews certificates, holds the state folder and takes commands. Both accept clients for a
moment, so nobody is refused. Whatever goes wrong before the new one serves, the old one goes on as if nothing had been.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import deferLater
from twisted.logger import Logger

from appliance.errors import ApplianceError
from appliance.process import link, spawning
from appliance.process.link import Link, LinkLostError
from appliance.process.spawning import Handle
from appliance.store import Defer

PATIENCE = 120.0
"""Seconds for each step: a reload under way ends; a new process reads its configuration; it reads the certificates."""

_LAST_WORDS = 1.0
"""Seconds until the old process leaves, for the answer to whoever asked for the upgrade."""

_log = Logger()


class UpgradeError(ApplianceError):
    """An upgrade that was not begun, or came to nothing: the old process goes on."""


class Service(Protocol):
    """The running service: `app.Appliance`."""

    def sockets(self) -> Mapping[str, int]:
        """The listening sockets, by endpoint string."""

    async def hold(self) -> None:
        """Change nothing more that a new process reads or is left; return when nothing is being changed."""

    def release(self) -> None:
        """Whatever came before it, nobody else serves: changes may be made again."""

    async def hand_over(self) -> None:
        """Stop what only one process may do, in good order."""

    def take_back(self) -> None:
        """Do it again."""

    async def leave(self, successor: int) -> None:
        """Accept nobody any more."""

    async def retire(self) -> None:
        """Return when the last client has gone."""


class Upgrading:
    """One process's upgrades. Those that are asked for before it has begun to serve wait until it has."""

    def __init__(
        self,
        reactor: Any,
        service: Service,
        defer: Defer,
        environment: Mapping[str, str],
        patience: float = PATIENCE,
    ) -> None:
        """``environment`` is for the new process, beside ours."""
        self._reactor = reactor
        self._service = service
        self._defer = defer
        self._environment = environment
        self._patience = patience
        self._ending = False
        """Whether this process was told to end."""
        self._under_way: Deferred[None] | None = None
        """Fires when the upgrade has come to something or nothing."""
        self._handle: Handle | None = None
        """The new process, until it serves."""
        self._state = ""
        """Why there can be no upgrade now; empty if there can."""
        self._waiting: list[Deferred[None]] | None = []
        """Those who asked before the service was this process's own."""

    async def command(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """What ``appliance upgrade`` does. Raises UpgradeError."""
        return {"pid": await self.upgrade(), "replaced": os.getpid()}

    async def give_up(self) -> None:
        """This process is to end: so is a new one that does not serve yet, which would go on alone. Wait for that."""
        self._ending = True
        if self._handle is not None:
            self._handle.kill()
        if self._under_way is not None:
            await self._under_way

    def allow(self) -> None:
        """The service is this process's own."""
        waiting, self._waiting = self._waiting, None
        for each in waiting or ():
            each.callback(None)

    async def upgrade(self) -> int:
        """Have a new process take over; its number. This one retires by itself after that. Raises UpgradeError."""
        if self._waiting is not None:
            asked: Deferred[None] = Deferred()
            self._waiting.append(asked)
            await asked
        if self._ending:
            raise UpgradeError(f"no upgrade now: process {os.getpid()} is about to end")
        if self._state:
            raise UpgradeError(f"no upgrade now: process {os.getpid()} {self._state}")
        if os.getpid() == 1:
            raise UpgradeError("process 1 cannot be replaced: its container ends with it. Replace the container")
        self._state = "is being replaced already"
        under_way = self._under_way = Deferred()
        try:
            await self._hold()
            successor = await self._replace()
        except BaseException as error:
            self._state = ""
            self._service.release()
            if isinstance(error, ApplianceError):
                _log.error("{error}", error=error)
            raise
        finally:
            self._under_way = None
            under_way.callback(None)
        self._state = f"was replaced by process {successor}"
        leaving = Deferred.fromCoroutine(self._leave(successor))
        leaving.addErrback(lambda failure: _log.failure("unexpected error of a process that leaves", failure))
        return successor

    async def _hold(self) -> None:
        try:
            await Deferred.fromCoroutine(self._service.hold()).addTimeout(self._patience, self._reactor)
        except (TimeoutError, CancelledError) as error:
            raise UpgradeError(
                f"no upgrade now: a reload under way has not ended within {self._patience:g} s;"
                " try again when it has, or restart the service"
            ) from error

    async def _replace(self) -> int:
        _log.info("upgrade: starting {command}", command=" ".join(spawning.command_line()))
        sockets = dict(self._service.sockets())
        environ = {**os.environ, **self._environment}
        spawned = await self._defer(lambda: spawning.spawn(spawning.command_line(), sockets, environ))
        talk = link.attach(self._reactor, spawned.link)
        handle: Handle | None = None
        try:
            handle = Handle(int((await self._hear(talk, link.STARTED)).partition(" ")[2]))
            self._handle = handle
            if self._ending:
                raise UpgradeError("this one was told to end")
            await self._hear(talk, link.PREPARED)
            await self._try(talk, handle)
        except (LinkLostError, ProcessLookupError, UpgradeError) as error:
            if handle is not None:
                handle.kill()
            why = spawned.told()
            fate = "ends" if self._ending else "goes on"
            raise UpgradeError(
                f"the new process did not get to serve ({error}); the old one, {os.getpid()}, {fate}."
                + (f" It said: {why}" if why else " Its log may say why.")
            ) from error
        finally:
            spawned.close()
            self._handle = None
            if handle is not None:
                handle.close()
            talk.close()
        return handle.pid

    async def _try(self, talk: Link, handle: Handle) -> None:
        """From here on the new process renews, for better or worse."""
        await self._service.hand_over()
        try:
            talk.say(link.GO)
            await self._hear(talk, link.SERVING)
        except BaseException:
            handle.kill()
            if not self._ending:
                self._service.take_back()
            raise
        self._handle = None
        await self._service.leave(handle.pid)
        talk.say(link.YOURS)

    async def _hear(self, talk: Link, word: str) -> str:
        try:
            heard = await Deferred.fromCoroutine(talk.hear()).addTimeout(self._patience, self._reactor)
        except (TimeoutError, CancelledError) as error:
            raise UpgradeError(f'no word "{word}" of it within {self._patience:g} s') from error
        if heard.partition(" ")[0] != word:
            raise UpgradeError(f'it said "{heard}" instead of "{word}"')
        return heard

    async def _leave(self, successor: int) -> None:
        _log.info("upgrade: process {pid} serves; this one finishes what it has begun", pid=successor)
        await deferLater(self._reactor, _LAST_WORDS)
        await self._service.retire()
        with contextlib.suppress(ReactorNotRunning):  # told to stop in the meantime
            self._reactor.stop()
