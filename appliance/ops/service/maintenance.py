"""The switch that puts a site into maintenance while the service runs. It stays as it was put, over restarts too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from appliance import atomicfile
from appliance.config import Site
from appliance.errors import ApplianceError, StoreError
from appliance.ops.control.server import Arguments, Command, flag, text
from appliance.ops.status.document import Document
from appliance.store import Defer

FILE_NAME = "maintenance.json"
"""Below ``state_dir``."""


class Closing(Protocol):
    """What answers for sites: `proxy.assembly.Assembly`."""

    @property
    def sites(self) -> Sequence[Site]:
        """Those that are served."""

    def close(self, closed: frozenset[str]) -> None:
        """Have these sites, by name, in maintenance."""


class Maintenance:
    """The one owner of which sites are switched off. A site that is not served any more is remembered all the same."""

    log = Logger()

    def __init__(self, closing: Closing, state_dir: Path, defer: Defer) -> None:
        self._closing = closing
        self._file = state_dir / FILE_NAME
        self._defer = defer
        self._lock = DeferredLock()
        self._closed: frozenset[str] = frozenset()

    def load(self) -> None:
        """Do as the switch stood when the service ended. A file that is of no use holds nobody up."""
        try:
            content = atomicfile.read(self._file)
            self._closed = _parsed(content) if content is not None else frozenset()
        except (StoreError, ValueError, RecursionError) as error:
            self.log.error(
                "{file} is of no use, so no site is in maintenance by it: {error}", file=self._file, error=error
            )
        for name in sorted(self._closed):
            self.log.warn(
                "{site}: in maintenance: its requests are answered with 503, until appliance maintenance off {site}",
                site=name,
            )
        self._closing.close(self._closed)

    @property
    def closed(self) -> frozenset[str]:
        """The sites that the switch has in maintenance, by name."""
        return self._closed

    def closes(self, name: str) -> bool:
        """Whether a site is in maintenance, by the switch or by its configuration."""
        return name in self._closed or any(site.maintenance for site in self._closing.sites if site.name == name)

    def commands(self) -> Mapping[str, Command]:
        """By name."""
        return {"maintenance": Command(self._switch)}

    async def settle(self) -> None:
        """Return when the switch stands as was asked for by now."""
        async with self._lock:
            pass

    async def _switch(self, arguments: Arguments) -> Document:
        site = self._site(text(arguments, "site"))
        on = flag(arguments, "on")
        if site.maintenance and not on:
            raise ApplianceError(f"{site.name} has maintenance = true in its configuration: take it out, and reload")
        async with self._lock:
            closed = self._closed | {site.name} if on else self._closed - {site.name}
            if closed != self._closed:
                content = json.dumps({"sites": sorted(closed)}).encode("ascii") + b"\n"
                await self._defer(lambda: atomicfile.replace(self._file, content))
                self._closed = closed
                self._closing.close(closed)
                self.log.info("{site}: maintenance is {state}", site=site.name, state="on" if on else "off")
        return {"site": site.name, "maintenance": on}

    def _site(self, name: str) -> Site:
        """The site called so, or that has this name."""
        sites = self._closing.sites
        found = [site for site in sites if site.name == name] or [site for site in sites if name in site.names]
        if not found:
            known = ", ".join(site.name for site in sites)
            raise ApplianceError(f"{name} is no site of this appliance; its sites are {known}")
        return found[0]


def _parsed(content: bytes) -> frozenset[str]:
    found = json.loads(content)
    names = found.get("sites") if isinstance(found, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("it holds no list of sites")
    return frozenset(names)
