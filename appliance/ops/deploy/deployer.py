"""What a site wants done with each new certificate: copies for other programs, and a program of the operator's own.

The hook runs once for each certificate. Which one it ran for last is kept in ``STATE_DIR/deployed``, so that neither a
restart repeats it nor a failure is forgotten: a hook that failed runs again at the next start and the next swap.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from appliance import atomicfile
from appliance.acme.dns.process import run
from appliance.config import Site
from appliance.config.alarm import Export
from appliance.errors import StoreError
from appliance.ops.deploy.export import export
from appliance.shield import shielded
from appliance.store import Defer
from appliance.tls.certificate import Certificate

HOOK_TIMEOUT = 300.0
"""Seconds that a hook may take."""

_log = Logger()


class Deployer:
    """For all sites. Called with a site and its certificate once that is in service."""

    def __init__(self, reactor: Any, sites: Mapping[str, Site], state_dir: Path, defer: Defer) -> None:
        """``reactor`` provides IReactorProcess and IReactorTime."""
        self._reactor = reactor
        self._sites = sites
        self._state_dir = state_dir
        self._defer = defer
        self._copying: defaultdict[str, DeferredLock] = defaultdict(DeferredLock)

    def wants(self, name: str) -> bool:
        """Whether there is anything to do for a site."""
        site = self._sites.get(name)
        return site is not None and (site.export is not None or bool(site.deploy_hook))

    async def __call__(self, name: str, certificate: Certificate) -> str:
        """Do what is to be done; what went wrong, in words, or nothing. Never raises but for a cancellation."""
        site = self._sites.get(name)
        if site is None or (site.export is None and not site.deploy_hook):
            return ""
        problem = ""
        try:
            await self._export(site, certificate)
            if site.deploy_hook:
                problem = await self._hook(site, certificate)
        except StoreError as error:
            problem = f"the certificate could not be passed on: {error}"
        if problem:
            _log.error("{site}: {problem}", site=name, problem=problem)
        return problem

    async def _export(self, site: Site, certificate: Certificate) -> None:
        settings = site.export
        if settings is None:
            return
        async with self._copying[site.name]:  # one that was given up is written to its end first, lest the two mix
            changed = await shielded(self._copy(certificate, settings))
        if changed:
            _log.info("{site}: exported to {folder}", site=site.name, folder=settings.to)

    async def _copy(self, certificate: Certificate, settings: Export) -> bool:
        return await self._defer(lambda: export(certificate, settings.to, settings.group))

    async def _hook(self, site: Site, certificate: Certificate) -> str:
        marker = self._state_dir / "deployed" / f"{site.name}.txt"
        mark = certificate.leaf.fingerprint(SHA256()).hex().encode() + b"\n"
        if await self._defer(lambda: atomicfile.read(marker)) == mark:
            return ""
        what = f"the deploy hook {site.deploy_hook[0]}"
        try:
            ended = await run(self._reactor, site.deploy_hook, self._environment(site, certificate), HOOK_TIMEOUT)
        except OSError as error:
            return f"{what} cannot be started: {error.strerror}; correct deploy_hook of {site.name}"
        if ended.problem:
            return f"{what} failed ({ended.words()}); it runs again at the next renewal or start"
        _log.info("{site}: {what} has run", site=site.name, what=what)
        await self._defer(lambda: _write(marker, mark))
        return ""

    def _environment(self, site: Site, certificate: Certificate) -> dict[str, str]:
        """Ours, and what the hook may want to know."""
        return {
            **os.environ,
            "APPLIANCE_SITE": site.name,
            "APPLIANCE_NAMES": " ".join(sorted(certificate.names)),
            "APPLIANCE_SERIAL": f"{certificate.serial:x}",
            "APPLIANCE_NOT_AFTER": certificate.not_after.isoformat(),
            "APPLIANCE_CERTIFICATE": str(self._state_dir / "certificates" / f"{site.name}.pem"),
            "APPLIANCE_EXPORT": str(site.export.to) if site.export is not None else "",
        }


def _write(marker: Path, mark: bytes) -> None:
    atomicfile.make_private_folder(marker.parent)
    atomicfile.replace(marker, mark)
