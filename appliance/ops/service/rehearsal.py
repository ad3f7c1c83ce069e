"""A whole issuance without consequences: at a CA of our own over the running listeners, then at a staging CA.

The first proves that our HTTP listener answers a CA's validations for a site's names, and that everything from order to
certificate works; the CA of the second comes from outside, so it also proves DNS, routers and firewalls. What either
issues is thrown away.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IListeningPort
from txacme.interfaces import IResponder  # type: ignore[import-untyped]

from appliance.acme.issuer import Issuer
from appliance.ca.memory import MemoryAgent
from appliance.ca.policy import Policy
from appliance.ca.server import EmbeddedCa
from appliance.ca.validation import Http01
from appliance.config import Acme, CertificateAuthority, Configuration, Site
from appliance.errors import ApplianceError
from appliance.ops.deploy.handshake import loopback_for
from appliance.store import Defer
from appliance.tls.certificate import Certificate

STAGING = {
    "https://acme-v02.api.letsencrypt.org/directory": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "https://dv.acme-v02.api.pki.goog/directory": "https://dv.acme-v02.test-api.pki.goog/directory",
}

MakeIssuer = Callable[[CertificateAuthority], Issuer]


class Rehearsal:
    """Rehearses on the running service."""

    def __init__(
        self,
        reactor: Any,
        settings: Callable[[], Configuration],
        now: Callable[[], datetime],
        http_01: IResponder,
        defer: Defer,
        make_issuer: MakeIssuer,
        http_ports: Callable[[], Sequence[IListeningPort]],
    ) -> None:
        """``settings`` are those of the moment; ``http_ports`` are the plain listeners that anybody may connect to."""
        self._reactor = reactor
        self._settings = settings
        self._now = now
        self._http_01 = http_01
        self._defer = defer
        self._make_issuer = make_issuer
        self._http_ports = http_ports

    async def here(self, site: Site) -> Certificate:
        """From order to certificate at a CA of our own. Raises ApplianceError."""
        names = [name for name in site.names if not name.startswith("*.")]
        if not names:
            raise ApplianceError(f"{site.name}: wildcards are proved by DNS-01, which only --staging can rehearse")
        ports = self._http_ports()
        if not ports:
            raise ApplianceError(
                f"{site.name}: there is no HTTP listener on TCP that may be connected to without a balancer's PROXY"
                " protocol; --staging can rehearse through that"
            )
        address: Any = ports[0].getHost()
        host = loopback_for(address.host)
        validator = Http01(self._reactor, address.port, resolve=lambda name: host)
        ca = EmbeddedCa(self._reactor, self._now, {"http-01": validator}, Policy(suffixes=None))
        acme = Acme(directory=ca.directory_url, agree_tos=True)
        folder = Path(await self._defer(lambda: tempfile.mkdtemp(prefix="appliance-rehearsal-")))
        try:
            agent = MemoryAgent(ca)
            issuer = Issuer(self._reactor, agent, acme, folder, [self._http_01], now=self._now, defer=self._defer)
            return self._checked(await issuer.issue(names), names)
        finally:
            await self._defer(lambda: shutil.rmtree(folder, ignore_errors=True))

    async def staging(self, site: Site) -> Certificate:
        """The same at the CA's staging directory, or at the one named in ``acme.rehearsal``. Raises ApplianceError."""
        acme = self._settings().acme
        first = acme.authorities[0]
        directory = acme.rehearsal or STAGING.get(first.directory)
        if directory is None:
            raise ApplianceError(
                f"{site.name}: no staging directory of {first.directory} is known; name one as acme.rehearsal"
            )
        issuer = self._make_issuer(CertificateAuthority(directory, first.email, first.agree_tos, first.ca_file))
        return self._checked(await issuer.issue(site.names), site.names)

    def _checked(self, certificate: Certificate, names: Sequence[str]) -> Certificate:
        certificate.check(names, max(self._now(), certificate.not_before))
        return certificate
