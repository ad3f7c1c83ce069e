"""The program that a worker is: ``python -m appliance.workers``, started by the main process and by nobody else."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogBeginner

from appliance.clock import make_monotonic, utc_now
from appliance.net.dispatch import dispatch_directly
from appliance.process import descriptors, garbage
from appliance.workers.member import LINK, LOG
from appliance.workers.messages import LogTo
from appliance.workers.talk import attach
from appliance.workers.worker import Worker

_LEFT_TO_MAIN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Who signals a whole group of processes means the service: the main process tells what comes of it."""


def main() -> None:
    """Be a worker until told otherwise, or until the main process is gone."""
    for number in _LEFT_TO_MAIN:
        signal.signal(number, signal.SIG_IGN)
    try:
        os.fstat(LINK)
        os.set_inheritable(LINK, False)
        os.set_inheritable(LOG, False)
    except OSError:
        sys.exit("this is started by the appliance itself, where its configuration says workers = 2 or more")
    from twisted.internet import reactor as installed

    reactor: Any = installed
    make_monotonic(reactor)
    descriptors.raise_limit()
    dispatch_directly(reactor)

    def end() -> None:
        try:
            reactor.stop()
        except ReactorNotRunning:
            os._exit(0)

    worker = Worker(reactor, utc_now, _begin_log, end)
    attach(reactor, LINK, worker.talk)
    garbage.collect_seldom()
    reactor.run(installSignalHandlers=False)


def _begin_log(log: LogTo) -> None:
    """As ``twist`` does."""
    level = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(log.level))
    observer = log.observer(os.fdopen(LOG, "a", encoding="utf-8"))
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(observer, [level])])


if __name__ == "__main__":
    main()
