"""Puts what another ACME client had into our folder, so that the first act of the service is no order.

Files are written as the service itself writes them, and belong to whoever the folder belongs to: the import is run by
root, the service is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from attrs import frozen

from appliance import atomicfile
from appliance.acme.account import AccountFiles
from appliance.config import Site
from appliance.errors import ApplianceError, CertificateError, StoreError
from appliance.ops.imports.found import Found, FoundAccount, FoundCertificate
from appliance.tls.certificate import Certificate


@frozen
class Taken:
    """What became of one thing that was found."""

    what: str
    taken: bool
    why: str
    """Where it was put, or why it was not."""


def take_over(
    found: Found,
    state_dir: Path,
    sites: Sequence[Site],
    contact: tuple[str, ...],
    now: datetime,
    *,
    force: bool = False,
) -> list[Taken]:
    """
    Write certificates and accounts that are of use.

    What is there already stays where it lasts as long, unless ``force``. ``contact`` is taken for the accounts' where
    the other client did not keep it. Raises StoreError when the folder cannot be written.
    """
    atomicfile.make_private_folder(state_dir)
    taken = [_take_certificate(each, state_dir, sites, now, force) for each in _best_first(found.certificates)]
    taken += [_take_account(each, state_dir, contact, force) for each in _newest(found.accounts)]
    _give_to_owner(state_dir)
    return taken


def _best_first(certificates: Iterable[FoundCertificate]) -> list[FoundCertificate]:
    return sorted(certificates, key=lambda each: each.certificate.not_after, reverse=True)


def _newest(accounts: Iterable[FoundAccount]) -> list[FoundAccount]:
    """One for each CA."""
    by_directory = {each.directory: each for each in sorted(accounts, key=lambda each: each.created)}
    return list(by_directory.values())


def _take_certificate(
    found: FoundCertificate, state_dir: Path, sites: Sequence[Site], now: datetime, force: bool
) -> Taken:
    certificate = found.certificate
    what = f"certificate {certificate.serial:x} for {', '.join(sorted(certificate.names))} ({found.source})"
    try:
        certificate.check((), now)
    except CertificateError as error:
        return Taken(what, False, str(error))
    name = _name_for(certificate, sites)
    if name is None or not atomicfile.is_name(name):
        return Taken(what, False, "it has no name to keep it under")
    path = state_dir / "certificates" / f"{name}.pem"
    if not force and _is_better(path, certificate):
        return Taken(what, False, f"{path} is there already and lasts as long (--force replaces it)")
    atomicfile.make_private_folder(path.parent)
    atomicfile.replace(path, certificate.to_pem(), path.with_name(f"{path.name}.previous"))
    return Taken(what, True, f"kept as {path}, valid until {certificate.not_after:%Y-%m-%d}")


def _name_for(certificate: Certificate, sites: Sequence[Site]) -> str | None:
    """The site that it covers best; else its own first name, for a site to come."""
    covered = [(sum(map(certificate.covers, site.names)), site.name) for site in sites]
    best = max(covered, default=(0, ""), key=lambda each: each[0])
    return best[1] if best[0] else min(certificate.names, key=lambda name: (name.count("."), len(name)), default=None)


def _is_better(path: Path, certificate: Certificate) -> bool:
    """Whether what is kept there covers as much and lasts as long."""
    try:
        content = atomicfile.read(path)
        kept = Certificate.from_pem(content) if content is not None else None
    except ApplianceError:
        return False
    return (
        kept is not None
        and kept.not_after >= certificate.not_after
        and all(kept.covers(name) for name in certificate.names)
    )


def _take_account(found: FoundAccount, state_dir: Path, contact: tuple[str, ...], force: bool) -> Taken:
    what = f"account {found.url or ''} at {found.directory} ({found.source})"
    try:
        files = AccountFiles.of(state_dir, found.directory)
    except ValueError as error:
        return Taken(what, False, f"{found.directory} is no URL of a CA: {error}")
    if files.key.exists() and not force:
        return Taken(what, False, f"{files.key} is there already (--force replaces it)")
    atomicfile.make_private_folder(files.folder)
    pem = found.key.to_pem()
    atomicfile.replace(files.key, pem, files.key.with_name(f"{files.key.name}.previous"))
    if found.url is not None:
        files.remember(found.url, found.contact or contact)
    return Taken(what, True, f"kept in {files.folder}")


def _give_to_owner(state_dir: Path) -> None:
    """To the folder's owner, when root has written what somebody else is to read."""
    owner = os.stat(state_dir)
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for folder, _, names in os.walk(state_dir):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            try:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
            except OSError as error:
                raise StoreError(f"cannot give {path} to the folder's owner: {error.strerror}") from error
