"""The log as an operator reads it: one line an event, and nothing on the comings and goings of Twisted's factories."""

from __future__ import annotations

from typing import IO, Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    textFileLogObserver,
)

_CHATTY = ("twisted", "log_legacy", "treq")
"""Namespaces that tell of every connection they open, at the level at which the appliance tells what matters."""


def text_log_observer(out: IO[Any], **options: Any) -> ILogObserver:
    """A text observer on ``out``: all events of the appliance's own, other packages' from warnings on."""
    return without_chatter(textFileLogObserver(out, **options))


def without_chatter(observer: ILogObserver) -> ILogObserver:
    """``observer`` with all events of the appliance's own, other packages' from warnings on."""
    shown = LogLevelFilterPredicate(defaultLogLevel=LogLevel.debug)
    for namespace in _CHATTY:
        shown.setLogLevelForNamespace(namespace, LogLevel.warn)
    filtering: ILogObserver = FilteringLogObserver(observer, [shown])
    return filtering
