"""A folder behind the data path in memory: what a site with ``root`` serves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from appliance.files.reading import Reading
from appliance.files.selection import Selection
from appliance.files.target import Files
from appliance.net.turn import Turn
from appliance.proxy.routing import RouteEntry, RouteTable, SiteRoutes
from appliance.proxy.target import Target
from tests.support.proxying import HOST, Proxy

NOW = 1_800_000_000.0


class Threads:
    """What is given to threads waits here until the test has it done."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def defer(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((work, done))
        return done

    def work(self) -> None:
        """Do one piece of work."""
        work, done = self.waiting.pop(0)
        try:
            result = work()
        except OSError:
            done.errback()
        else:
            done.callback(result)


class Folder:
    """``root`` at a prefix of ``example.com``."""

    def __init__(
        self,
        network: Proxy,
        root: Path,
        prefix: bytes = b"/static",
        *,
        cache_control: str | None = None,
        fallback: str | None = None,
        around: Callable[[Target], Target] = lambda target: target,
    ) -> None:
        self.threads = Threads()
        self.reading = Reading(Turn(network.network), self.threads.defer)
        selection = Selection(root, prefix, fallback)
        clock = network.network.seconds
        self.files = Files("example.com/static", selection, cache_control, self.reading, lambda: NOW, clock)
        site = SiteRoutes("example.com", [RouteEntry(prefix, around(self.files))])
        network.handler.routes = RouteTable({HOST: site})

    def forget(self) -> None:
        """From now on nothing is in the system's memory: everything is read in threads."""
        self.reading.read = lambda descriptor, offset, size: None  # type: ignore[method-assign]


def descriptors() -> set[str]:
    """The open ones that lead to files."""
    return {name for name in os.listdir("/proc/self/fd") if _leads_to_file(name)}


def _leads_to_file(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}").startswith("/")
    except FileNotFoundError:  # the one that listed them
        return False
