"""The alarm: looks at all sites again and again, tells somebody, and remembers across restarts whom it has told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from appliance import atomicfile
from appliance.acme import record
from appliance.errors import StoreError
from appliance.ops.alarm.concern import Concern, Message, Told, concern, to_tell, unsent
from appliance.ops.alarm.notify import Notifier
from appliance.ops.status.document import AfterSwap, Report
from appliance.store import Defer

INTERVAL = 15.0
"""Seconds between two looks."""
AT_ONCE = 50
"""So many sites are looked at in one turn."""
PAUSE = 0.25
"""Seconds between two turns: ten thousand sites take a minute, and a percent of the processor."""

_log = Logger()


class AlarmService(Service):
    """Runs beside the renewals and never touches them. Without any way to tell somebody it tells the log."""

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], datetime],
        reports: Callable[[], Iterable[Report]],
        after_swap: Callable[[str], AfterSwap],
        notifier: Notifier,
        file: Path,
        defer: Defer,
        interval: float = INTERVAL,
    ) -> None:
        """``file`` is ``STATE_DIR/alarms.json``."""
        self._clock = clock
        self._now = now
        self._reports = reports
        self._after_swap = after_swap
        self._notifier = notifier
        self._file = file
        self._defer = defer
        self._interval = interval
        self._told: dict[str, Told] | None = None
        self._looking = LoopingCall.withCount(lambda count: Deferred.fromCoroutine(self.look()))
        self._looking.clock = clock

    def startService(self) -> None:
        """Look, and look again."""
        super().startService()  # type: ignore[no-untyped-call]
        self._looking.start(self._interval, now=False)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._looking.stop()

    async def concerns(self) -> dict[str, Concern | None]:
        """What is wrong now, or that nothing is, by site: a few at a time, so that nobody waits for thousands."""
        found: dict[str, Concern | None] = {}
        for report in self._reports():
            found[report.site] = self.concern_of(report)
            if not len(found) % AT_ONCE:
                await deferLater(self._clock, PAUSE)
        return found

    def concern_of(self, report: Report) -> Concern | None:
        """What is wrong with one."""
        return concern(report, self._after_swap(report.site), self._now())

    async def look(self) -> None:
        """Tell what has not been told. Never raises."""
        try:
            await self._look()
        except Exception:
            _log.failure("unexpected error of the alarm; it looks again in {seconds:.0f} s", seconds=self._interval)

    async def _look(self) -> None:
        concerns = await self.concerns()
        if not concerns:
            return  # the store has not been read yet: that everything is well again is not known
        told = await self._load()
        now = self._now()
        wrong = {site: found for site, found in concerns.items() if found is not None}
        messages, after = to_tell(told, wrong, concerns, now)
        for message in messages:
            if not await self._tell(message):
                after[message.site] = unsent(told.get(message.site), message, now)
        if after != told:
            self._told = after
            await self._save(after)

    async def _tell(self, message: Message) -> bool:
        if message.recovered:
            _log.info("{site}: {text}", site=message.site, text=message.text)
        else:
            _log.critical("{site}: {text}", site=message.site, text=message.text)
        return await self._notifier.send(message)

    async def _load(self) -> dict[str, Told]:
        if self._told is None:
            try:
                self._told = await self._defer(lambda: _read(self._file))
            except (StoreError, ValueError, TypeError, RecursionError) as error:
                _log.error("{file} is of no use, so alarms may be repeated: {error}", file=self._file, error=error)
                self._told = {}
        return self._told

    async def _save(self, told: Mapping[str, Told]) -> None:
        content = json.dumps(record.dump(told), indent=1).encode() + b"\n"
        try:
            await self._defer(lambda: atomicfile.replace(self._file, content))
        except StoreError as error:
            _log.error("which alarms were sent cannot be written down: {error}", error=error)


def _read(file: Path) -> dict[str, Told]:
    content = atomicfile.read(file)
    return record.load(dict[str, Told], json.loads(content)) if content is not None else {}
