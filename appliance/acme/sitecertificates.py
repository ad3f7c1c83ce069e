"""One site's certificates: which one is stored, which one is served, and the way from the one to the other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pem
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from appliance.acme.decision import covered
from appliance.acme.environment import Environment
from appliance.acme.schedule import is_valid, retry_delay
from appliance.config import Site
from appliance.tls.certificate import Certificate

WRITE_TIMEOUT = 120.0
"""Seconds after which a write that has not ended is taken for failed."""

_OLDER = " (older)"
"""What a certificate for names that the newest one lacks is installed under, beside the site's own name."""


class SiteCertificates:
    """Holds and serves them. Nothing here decides when."""

    _log = Logger()

    def __init__(
        self, site: Site, environment: Environment, stored: Certificate | None, older: Certificate | None
    ) -> None:
        """``stored`` is the best stored certificate, if any is good; ``older`` the one before it."""
        self._site = site
        self._env = environment
        self._older = older
        self._failures = 0
        self.stored = stored
        self.serving: Certificate | None = None
        self.unsaved: Certificate | None = None
        self.store_again: datetime | None = None

    def take(self, certificate: Certificate) -> None:
        """A new one, to be stored and served."""
        self.unsaved = certificate
        self._failures, self.store_again = 0, None

    async def store(self) -> bool:
        """Write the unsaved one; False, and when to try again, if it cannot be."""
        certificate = self.unsaved
        assert certificate is not None, "decided to store without a certificate"
        try:
            await self.write(lambda: self._env.store.store(self._site.name, pem.parse(certificate.to_pem())))
        except Exception as error:
            self._failures += 1
            # Trying costs nobody anything, so this backs off no further than asking for an unreachable CA does.
            life = certificate.not_after - certificate.not_before
            delay = retry_delay(self._failures, self._env.random, life=life, unreachable=True)
            self.store_again = self._env.now() + delay
            self._log.critical(
                "{site}: the new certificate for {names} CANNOT BE SAVED: {problem}. It is kept in memory and saving is"
                " tried again in {delay:.0f} s; a restart before that loses it. Until then {meanwhile}",
                problem=error,
                delay=delay.total_seconds(),
                meanwhile=self.meanwhile(),
                **self.who(),
            )
            return False
        self.stored, self.unsaved = certificate, None
        return True

    def install(self) -> Certificate:
        """
        Serve the newest one. Raises what ``Install`` raises, after which it is forgotten.

        Names that it lacks, and that the one before it is still good for, stay with that.
        """
        certificate = self.unsaved or self.stored
        assert certificate is not None, "decided to serve without a certificate"
        names = covered(certificate, self._site.names)
        try:
            self._env.install(self._site.name, names, certificate)
        except Exception:
            self.stored = self.unsaved = None
            raise
        first = self.serving is None and certificate is self.stored
        if self.serving is not None:
            self._older = self.serving
        self.serving = certificate
        self._keep_older(names)
        if self._env.many_sites and first:
            return certificate  # one line tells of all of them
        self._log.info(
            "{site}: serves certificate {serial:x} from {issuer} for {served}, valid until {end:%Y-%m-%d %H:%M:%S} UTC",
            site=self._site.name,
            serial=certificate.serial,
            issuer=certificate.issuer,
            served=", ".join(names),
            end=certificate.not_after,
        )
        return certificate

    def withdraw(self) -> None:
        """Serve nothing for the site any more."""
        for name in (self._site.name, self._site.name + _OLDER):
            self._env.withdraw(name)

    def all(self) -> tuple[Certificate, ...]:
        """Those that may still be of use, the one in service first."""
        known = (self.serving, self.unsaved, self.stored, self._older)
        return tuple(dict.fromkeys(each for each in known if each is not None))

    async def keep(self, previous: Certificate) -> None:
        """Store ``previous``, to be served, in place of what there is. Raises what the store raises, TimeoutError."""
        await self.write(lambda: self._env.store.store(self._site.name, pem.parse(previous.to_pem())))
        self.stored, self.unsaved = previous, None

    async def write(self, write: Callable[[], Deferred[None]]) -> None:
        """Await a write; to be shielded, for it is not to be cancelled. Raises what it raises, or TimeoutError."""
        await maybeDeferred(write).addTimeout(WRITE_TIMEOUT, self._env.clock)

    def who(self) -> dict[str, str]:
        """The site and its names, for the log."""
        return {"site": self._site.name, "names": ", ".join(self._site.names)}

    def meanwhile(self) -> str:
        """What clients get, in words."""
        if self.serving is None:
            return "the site cannot be reached over TLS"
        return f"the certificate that ends at {self.serving.not_after:%Y-%m-%d %H:%M:%S} UTC stays in service"

    def _keep_older(self, served: tuple[str, ...]) -> None:
        """Beside a certificate that lacks names, serve the one before it for those, while it is valid."""
        older, now = self._older, self._env.now()
        lacking = [name for name in self._site.names if name not in served]
        if older is None or not lacking or not is_valid(older.not_before, older.not_after, now):
            return
        names = covered(older, lacking)
        if names:
            self._env.install(self._site.name + _OLDER, names, older)
            self._log.warn(
                "{site}: {lacking} stays with the certificate that ends at {end:%Y-%m-%d %H:%M:%S} UTC",
                site=self._site.name,
                lacking=", ".join(names),
                end=older.not_after,
            )
