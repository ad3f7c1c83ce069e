"""How clients' connections end with the service: after what is under way, in a bounded time."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_log = Logger()


class Clients(Protocol):
    """Connections of one kind: `listener.ClientFactory`."""

    @property
    def open(self) -> Sized:
        """Those there are."""

    def drain(self) -> None:
        """End each after what is under way."""

    def retire(self) -> None:
        """End each when that disturbs nobody."""

    def abort(self) -> None:
        """End each at once."""

    def when_empty(self) -> Deferred[None]:
        """Fire when there are none."""


class Draining:
    """The end of all clients' connections; nobody is accepted any more when it begins."""

    def __init__(self, clock: IReactorTime, clients: Sequence[Clients]) -> None:
        self._clock = clock
        self._clients = tuple(clients)
        self._patience: Deferred[None] | None = None

    @property
    def left(self) -> int:
        """How many connections there are."""
        return sum(len(each.open) for each in self._clients)

    async def drain(self, patience: float) -> None:
        """Let requests in flight end and tell WebSockets to go; cut off what is left after ``patience`` seconds."""
        for each in self._clients:
            each.drain()
        await self._all_gone(patience)
        if self.left:
            _log.warn("{count} connections cut off after {patience:g} s", count=self.left, patience=patience)
            self.hurry()

    async def retire(self, patience: float) -> None:
        """Let each connection end by itself, WebSockets too; return then, or after ``patience`` seconds."""
        for each in self._clients:
            each.retire()
        await self._all_gone(patience)

    def hurry(self) -> None:
        """Cut off everything now."""
        for each in self._clients:
            each.abort()

    def _all_gone(self, patience: float) -> Deferred[None]:
        """Fire when there is no connection left, or after ``patience`` seconds."""
        gone: Deferred[Any] = DeferredList([each.when_empty() for each in self._clients], consumeErrors=True)
        gone.addTimeout(patience, self._clock, onTimeoutCancel=lambda result, timeout: None)
        return gone.addCallback(lambda _: None)
