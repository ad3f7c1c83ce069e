"""Reloading: the configuration file is read anew, and what it says is put in place; one at a time, whoever asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from attrs import frozen
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from appliance.config import Configuration
from appliance.config.difference import Difference
from appliance.errors import ApplianceError, RestartNeededError
from appliance.ops.status.document import Document
from appliance.store import Defer

NO_FILE = "there is no file to read: the appliance was started {how}. Stop it, and start it with --config FILE"

_log = Logger()


@frozen
class Source:
    """Where the configuration comes from."""

    name: str
    """The file's, as it was given at the start."""
    read: Callable[[], Configuration]
    """Reads it, whole, in a thread. Raises ConfigurationError with every mistake."""


class Reloading:
    """Does it, and remembers how it went."""

    def __init__(
        self,
        source: Source | str,
        change: Callable[[Configuration], Awaitable[Difference]],
        now: Callable[[], datetime],
        defer: Defer,
        told: Callable[[bool], object],
    ) -> None:
        """``source`` is a word for how it was started where there is no file; ``told`` hears how each reload went."""
        self._source = source
        self._change = change
        self._now = now
        self._defer = defer
        self._told = told
        self._lock = DeferredLock()
        self._loaded = now()
        self._failed: datetime | None = None
        self._error = ""

    async def reload(self) -> Document:
        """
        Read and change; a reload under way ends first. What was different is returned, and logged.

        Raises ApplianceError when nothing was changed: ConfigurationError for mistakes in the file, RestartNeededError
        for what cannot be changed while it runs. The log has it too.
        """
        async with self._lock:
            try:
                document = await self._reload()
            except Exception as error:
                self._fail(error)
                raise
            self._loaded, self._failed, self._error = self._now(), None, ""
            self._told(True)
            return document

    async def settle(self) -> None:
        """Return when those that were asked for by now have ended."""
        async with self._lock:
            pass

    def document(self) -> Document:
        """For the status: which file, when it was last applied, and what was wrong with it since."""
        return {
            "file": self._source.name if isinstance(self._source, Source) else None,
            "loaded": self._loaded.isoformat(),
            "failed": self._failed.isoformat() if self._failed is not None else None,
            "error": self._error,
        }

    async def _reload(self) -> Document:
        source = self._source
        if not isinstance(source, Source):
            raise ApplianceError(NO_FILE.format(how=source))
        wanted = await self._defer(source.read)
        try:
            difference = await self._change(wanted)
        except RestartNeededError as error:
            raise RestartNeededError(error.mistakes, source.name) from error
        _log.info("{file} reloaded: {difference}", file=source.name, difference=str(difference))
        return {
            "file": source.name,
            "added": list(difference.added),
            "removed": list(difference.removed),
            "changed": list(difference.changed),
            "settings": list(difference.settings),
            "summary": str(difference),
        }

    def _fail(self, error: Exception) -> None:
        self._failed = self._now()
        self._told(False)
        if isinstance(error, ApplianceError):
            self._error = str(error)
            for line in self._error.splitlines():
                _log.error("not reloaded: {line}", line=line)
        else:
            self._error = f"unexpected error: {error!r}; the log has more"
            _log.failure("unexpected error in a reload")
