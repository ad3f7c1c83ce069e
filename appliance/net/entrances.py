"""Where clients come in: the listeners of one kind, plain or TLS, opened and closed while the others go on.

Connections belong to the kind, not to the listener that accepted them: they stay when that is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from appliance.errors import ListenError
from appliance.net.listener import ClientFactory, Listener
from appliance.process.inheritance import Inheritance

_log = Logger()


class Entrance(Service):
    """The one owner of its listeners, which are open while it runs.

    Changing them is done in two steps, so that what can fail does so before anything has changed: ``prepare`` opens
    what is new, ``apply`` closes what is no longer wanted; or ``discard`` closes what was opened.
    """

    def __init__(
        self,
        listening: Any,
        clients: ClientFactory,
        when_ready: Callable[[], Deferred[None]],
        inherited: Inheritance | None = None,
        shared: bool = False,
    ) -> None:
        """All but ``clients`` as for `Listener`."""
        self.clients = clients
        """Their connections."""
        self.listeners: tuple[Listener, ...] = ()
        self._listening = listening
        self._when_ready = when_ready
        self._inherited = inherited
        self._shared = shared

    def sockets(self) -> dict[str, int]:
        """The open sockets, by endpoint."""
        ports: dict[str, Any] = {each.endpoint: each.port for each in self.listeners if each.port is not None}
        return {endpoint: port.fileno() for endpoint, port in ports.items()}

    def queue_again(self) -> None:
        """See `Listener.queue_again`."""
        for listener in self.listeners:
            listener.queue_again()

    def leave(self) -> None:
        """Another process has these sockets as well: let it keep them."""
        for listener in self.listeners:
            listener.leave()

    def prepare(self, endpoints: Sequence[str]) -> tuple[Listener, ...]:
        """A listener for each endpoint: the one there is, or a new one, open if this runs. Raises ListenError."""
        there = {listener.endpoint: listener for listener in self.listeners}
        prepared: list[Listener] = []
        for endpoint in endpoints:
            listener = there.get(endpoint) or Listener(
                self._listening, endpoint, self.clients, self._when_ready, self._inherited, self._shared
            )
            try:
                if self.running and endpoint not in there:
                    listener.startService()
            except ListenError as error:
                self.discard(prepared)
                leaving = " and ".join(each for each in there if each not in endpoints)
                hint = f"; if it is the appliance itself, for {leaving}, this change takes a restart" if leaving else ""
                raise ListenError(f"{error}{hint}") from error
            except Exception:  # an endpoint of systemd's that is not there, for one
                self.discard(prepared)
                raise
            prepared.append(listener)
        return tuple(prepared)

    def apply(self, prepared: Sequence[Listener]) -> None:
        """Have these from now on."""
        before, self.listeners = self.listeners, tuple(prepared)
        for listener in before:
            if listener not in prepared:
                _log.info("{endpoint}: closed; its connections go on", endpoint=listener.endpoint)
                _close(listener)

    def discard(self, prepared: Sequence[Listener]) -> None:
        """Nothing has come of it: close what was opened."""
        for listener in prepared:
            if listener not in self.listeners and listener.running:
                _close(listener)

    def startService(self) -> None:
        """Open all; raises ListenError if that cannot be done."""
        super().startService()  # type: ignore[no-untyped-call]
        for listener in self.listeners:
            listener.startService()

    def stopService(self) -> Deferred[None]:
        """Accept nobody any more; fire when all are closed. The connections are `draining`'s to see to."""
        super().stopService()  # type: ignore[no-untyped-call]
        closing = [listener.stopService() for listener in self.listeners if listener.running]
        return DeferredList(closing, consumeErrors=True).addCallback(lambda _: None)


def _close(listener: Listener) -> None:
    closing = listener.stopService()
    closing.addErrback(
        lambda failure: _log.failure("{endpoint} could not be closed", failure, endpoint=listener.endpoint)
    )
