"""The service's log as JSON, an object a line: ``time``, ``level``, ``logger``, ``message``, and what it is about."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import IO, Any

from twisted.logger import FileLogObserver, ILogObserver, LogEvent

from appliance.ops.log.fields import fields, level, words
from appliance.ops.log.text import without_chatter


def json_line(event: LogEvent) -> str:
    """One event as a line, its end included."""
    when = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds")
    told = {
        "time": when.replace("+00:00", "Z"),
        "level": level(event).name,
        "logger": event.get("log_namespace") or "",
        "message": words(event),
    }
    return json.dumps({**dict(fields(event)), **told}) + "\n"


def json_log_observer(out: IO[Any]) -> ILogObserver:
    """An observer that writes to ``out``."""
    return without_chatter(FileLogObserver(out, json_line))
