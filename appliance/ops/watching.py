"""Everything that is written down and counted about requests, put together from the configuration."""

from __future__ import annotations

import secrets
import time
from typing import Any

from twisted.application.service import MultiService

from appliance.config import Configuration
from appliance.http.record import Record
from appliance.ops.accesslog import AccessLog
from appliance.ops.accesslogline import CombinedLine, JsonLine, Line
from appliance.ops.accesslogredact import Redactor
from appliance.ops.logfile import LogFile
from appliance.ops.observer import RequestObserver
from appliance.opsconfig import AccessLog as AccessLogConfiguration
from appliance.proxy.handler import RequestId
from appliance.store import Defer


class Watch(MultiService):
    """``observer`` is for every client's connection; None when nothing wants to know of requests."""

    def __init__(self, clock: Any, configuration: Configuration, defer: Defer) -> None:
        """``clock`` is monotonic."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._prefix = secrets.token_hex(6)
        self._access_log: AccessLog | None = None
        self.request_id: RequestId | None = None
        """What tells applications the id, if they are to be told."""
        if configuration.access_log is not None:
            settings = configuration.access_log
            self._access_log = AccessLog(clock, time.time, self._line(settings), LogFile(settings.file), defer)
            self._access_log.setServiceParent(self)  # type: ignore[no-untyped-call]
            if settings.request_id_header is not None:
                self.request_id = RequestId(settings.request_id_header, self.identify)
        self.observer: RequestObserver | None = None
        if self._access_log is not None:
            self.observer = RequestObserver(clock.seconds, log=self._access_log.add)

    def identify(self, record: Record) -> str:
        """A request's id, like no other's of this process or another."""
        return f"{self._prefix}-{record.number:x}"

    def reopen_logs(self) -> None:
        """Log files were moved away: go on in new ones."""
        if self._access_log is not None:
            self._access_log.reopen()

    def _line(self, settings: AccessLogConfiguration) -> Line:
        redact = Redactor(settings.redact)
        return CombinedLine(redact) if settings.format == "combined" else JsonLine(redact, self.identify)
