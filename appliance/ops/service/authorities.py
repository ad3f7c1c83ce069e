"""The commands that are about CAs: rehearse, revoke, and what there is to do with accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted.logger import Logger

from appliance import atomicfile
from appliance.acme.account import AccountFiles
from appliance.acme.accountops import REASONS, revoke, roll_over
from appliance.acme.issuer import Issuer
from appliance.config import Configuration, Site
from appliance.errors import AcmeProblemError, ApplianceError
from appliance.ops.control.server import Arguments, BadRequestError, Command, flag, text
from appliance.ops.service.operations import Renewals
from appliance.ops.service.rehearsal import Rehearsal
from appliance.ops.status.document import Document, certificate
from appliance.store import Defer
from appliance.tls.certificate import Certificate

_log = Logger()


class AuthorityOperations:
    """On the running service's issuers and accounts."""

    def __init__(
        self,
        settings: Callable[[], Configuration],
        renewals: Renewals,
        issuers: Callable[[], Sequence[Issuer]],
        rehearsal: Rehearsal,
        defer: Defer,
    ) -> None:
        """Both are of the moment; ``issuers`` in the order of ``settings().acme.authorities``."""
        self._settings = settings
        self._renewals = renewals
        self._issuers = issuers
        self._rehearsal = rehearsal
        self._defer = defer

    def commands(self) -> Mapping[str, Command]:
        """By name."""
        return {
            "rehearse": Command(self._rehearse),
            "revoke": Command(self._revoke),
            "accounts": Command(lambda _: self._accounts()),
            "rollover": Command(self._rollover),
        }

    async def _rehearse(self, arguments: Arguments) -> Document:
        site = self._site(text(arguments, "site"))
        here = certificate(await self._rehearsal.here(site)) if not flag(arguments, "only_staging") else None
        staging = flag(arguments, "staging") or flag(arguments, "only_staging")
        return {
            "site": site.name,
            "here": here,
            "staging": certificate(await self._rehearsal.staging(site)) if staging else None,
        }

    async def _revoke(self, arguments: Arguments) -> Document:
        """A new certificate first, so that the site is never without one; ``now`` revokes whatever comes of that."""
        site, reason = self._site(text(arguments, "site")), text(arguments, "reason", "unspecified")
        if reason not in REASONS:
            raise BadRequestError(f"the reason must be one of {', '.join(REASONS)}")
        old = self._serving(site)
        if old is None:
            raise ApplianceError(f"{site.name}: serves no certificate that could be revoked")
        if flag(arguments, "now"):
            await self._revoke_at_its_ca(site, old, reason)
        report = await self._renewals.renew(site.name, True)
        new = self._serving(site)
        if new is None or new.leaf == old.leaf:
            done = "was revoked, and is still served" if flag(arguments, "now") else "was not revoked (--now does it)"
            why = report.state.problem or "no new one came"
            raise ApplianceError(f"{site.name}: {old.serial:x} {done}, for there is no other to serve: {why}")
        if not flag(arguments, "now"):
            await self._revoke_at_its_ca(site, old, reason)
        await self._defer(lambda: self._forget_previous(site))
        return {"site": site.name, "revoked": f"{old.serial:x}", "serves": f"{new.serial:x}"}

    def _forget_previous(self, site: Site) -> None:
        """Nobody is to roll back to it."""
        (self._settings().state_dir / "certificates" / f"{site.name}.pem.previous").unlink(missing_ok=True)

    async def _revoke_at_its_ca(self, site: Site, old: Certificate, reason: str) -> None:
        """At the CA that issued it, which may be any of ours; the others say that it is not theirs."""
        refusals = []
        for issuer in self._issuers():
            try:
                await revoke(issuer.client, old, reason)
            except AcmeProblemError as error:
                refusals.append(f"{issuer.name}: {error}")
                continue
            _log.info(
                "{site}: certificate {serial:x} was revoked: {reason}", site=site.name, serial=old.serial, reason=reason
            )
            return
        raise ApplianceError(f"{site.name}: no CA has revoked {old.serial:x}. {'. '.join(refusals)}")

    async def _accounts(self) -> Document:
        found = []
        for issuer, authority in zip(self._issuers(), self._settings().acme.authorities, strict=True):
            files = self._files(authority.directory)
            saved = await self._defer(lambda files=files: _saved(files.details))  # type: ignore[misc]
            found.append({"ca": issuer.name, "directory": authority.directory, "file": str(files.key), **saved})
        return {"accounts": found}

    async def _rollover(self, arguments: Arguments) -> Document:
        name = text(arguments, "ca", self._issuers()[0].name)
        for issuer, authority in zip(self._issuers(), self._settings().acme.authorities, strict=True):
            if issuer.name == name:
                account = await issuer.account()
                issuer.adopt(await roll_over(account, self._files(authority.directory), self._defer))
                return {"ca": name, "account": account.url}
        raise ApplianceError(
            f"{name} is no CA of this configuration; they are {', '.join(i.name for i in self._issuers())}"
        )

    def _files(self, directory: str) -> AccountFiles:
        return AccountFiles.of(self._settings().state_dir, directory)

    def _serving(self, site: Site) -> Certificate | None:
        return next((report.serving for report in self._renewals.report() if report.site == site.name), None)

    def _site(self, name: str) -> Site:
        for site in self._settings().sites:
            if name in site.names:
                return site
        raise ApplianceError(f"{name} is no name of a configured site")


def _saved(details: Path) -> Document:
    """What is remembered of an account: as it is, for a human to read. Blocks."""
    content = atomicfile.read(details)
    return {"registered": content is not None, "details": content.decode("utf-8", "replace") if content else ""}
