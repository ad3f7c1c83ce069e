"""The new process's side of an upgrade; see `upgrade` for the old one's and `link` for what they say."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from appliance.errors import ApplianceError
from appliance.process import link
from appliance.process.inheritance import Inheritance
from appliance.process.link import Link, LinkLostError

_log = Logger()


class Service(Protocol):
    """What is to be run: `app.Appliance`."""

    async def when_serving(self) -> None:
        """Return once clients are accepted. Raises ApplianceError if certificates could not be read."""


class Succession:
    """Waits for its turn, begins, and tells."""

    def __init__(
        self,
        reactor: Any,
        inherited: Inheritance,
        service: Service,
        done: Callable[[], None],
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        """``done`` is called when the service is this process's own; ``end`` ends it where it never will be."""
        assert inherited.link is not None
        self._reactor = reactor
        self._inherited = inherited
        self._service = service
        self._done = done
        self._end = end
        self._start: Callable[[], None] = lambda: None
        self._talk = link.attach(reactor, inherited.link)

    def begin(self, start: Callable[[], None]) -> None:
        """Take the old process's place once the reactor runs. ``start`` starts everything; raises ApplianceError."""
        self._start = start
        self._reactor.callWhenRunning(lambda: Deferred.fromCoroutine(self._succeed()).addErrback(self._fail))

    def _fail(self, failure: Failure) -> None:
        """Say why on standard error, which the old process reads, and end: that one goes on."""
        why = str(failure.value) if failure.check(ApplianceError) else failure.getTraceback()
        os.write(2, f"{why}\n".encode())  # sys.stderr leads to the log by now
        self._end(1)

    async def _succeed(self) -> None:
        self._talk.say(link.PREPARED)
        await self._hear(self._talk, link.GO)
        self._start()
        await self._service.when_serving()
        self._inherited.close()
        self._talk.say(link.SERVING)
        await self._hear(self._talk, link.YOURS)
        self._talk.close()
        if self._inherited.errors is not None:
            os.dup2(self._inherited.errors, 2)
            os.close(self._inherited.errors)
        self._done()
        _log.info("upgrade: this process, {pid}, has taken over", pid=os.getpid())

    async def _hear(self, talk: Link, word: str) -> None:
        """Wait for this word. Where the old process ended of itself, nobody but this one is left to serve."""
        try:
            heard = await talk.hear()
        except LinkLostError:
            _log.warn("upgrade: the old process ended before it had handed over; going on alone")
            return
        if heard != word:
            raise ApplianceError(f'the process to be replaced said "{heard}" instead of "{word}"')
