"""A log event as data: its words, and what it is about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.logger import LogEvent, LogLevel, formatEvent

PRIORITIES = {
    LogLevel.critical: 2,
    LogLevel.error: 3,
    LogLevel.warn: 4,
    LogLevel.info: 6,
    LogLevel.debug: 7,
}
"""Levels as syslog counts them (RFC 5424 section 6.2.1)."""


def words(event: LogEvent) -> str:
    """The message, with the traceback where there is one."""
    message = formatEvent(event)
    failure = event.get("log_failure")
    return f"{message}\n{failure.getTraceback()}" if failure is not None else message


def fields(event: LogEvent) -> Iterator[tuple[str, str | int | float | bool]]:
    """What the event is about, ``site`` for one: values that are plain, by the names they were logged under."""
    for name, value in event.items():
        if not name.startswith("log_") and isinstance(value, str | int | float | bool):
            yield name, value


def level(event: LogEvent) -> Any:
    """The event's level; information for those that tell none."""
    return event.get("log_level") or LogLevel.info
