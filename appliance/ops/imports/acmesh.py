"""acme.sh's folder, ``~/.acme.sh``: ``NAME`` or ``NAME_ecc`` for each certificate, ``ca/HOST/PATH`` for accounts."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from appliance.acme.jose import AccountKey
from appliance.errors import ApplianceError, StoreError
from appliance.ops.imports.found import Found, FoundAccount, folders, is_there, read

DEFAULTS = (Path("~/.acme.sh"),)
MOVED_ON = "acme.sh --uninstall-cronjob"

_SETTING = re.compile(r"([A-Za-z0-9_]+)='?(.*?)'?")
_ENCODED = re.compile(r"__ACME_BASE64__START_(.*)__ACME_BASE64__END_")


def read_acmesh(folder: Path) -> Found:
    """Everything usable. Raises StoreError if ``folder`` is not acme.sh's or cannot be read."""
    if not any(is_there(folder / name) for name in ("account.conf", "ca")):
        raise StoreError(f"{folder} is not acme.sh's: it has neither account.conf nor ca")
    found = Found()
    for path in folders(folder):
        if path.name != "ca":
            _read_certificate(path, found)
    for path in _account_folders(folder / "ca"):
        _read_account(folder / "ca", path, found)
    if found.certificates:
        found.hints.append(f"acme.sh still renews by itself: once all is well here, {MOVED_ON}")
    return found


def _read_certificate(path: Path, found: Found) -> None:
    name = path.name.removesuffix("_ecc")
    try:
        if not is_there(path / "fullchain.cer"):
            return
        found.add_certificate(path, read(path / f"{name}.key") + read(path / "fullchain.cer"))
        settings = _settings(path / f"{name}.conf") if is_there(path / f"{name}.conf") else {}
    except StoreError as error:
        found.complaints.append(str(error))
        return
    challenge = settings.get("Le_Webroot", "")
    if challenge.startswith("dns"):
        found.hints.append(f"{name}: proved by acme.sh's {challenge}: set up DNS-01 for it, see [acme.dns]")
    if settings.get("Le_ReloadCmd"):
        found.hints.append(f"{name}: acme.sh ran {settings['Le_ReloadCmd']!r}: see deploy_hook in [[site]]")


def _account_folders(accounts: Path, depth: int = 0) -> list[Path]:
    below = []
    for path in folders(accounts):
        if is_there(path / "account.key"):
            below.append(path)
        elif depth < 6:
            below += _account_folders(path, depth + 1)
    return below


def _read_account(accounts: Path, path: Path, found: Found) -> None:
    try:
        settings = _settings(path / "ca.conf") if is_there(path / "ca.conf") else {}
        email = settings.get("CA_EMAIL")
        found.accounts.append(
            FoundAccount(
                path,
                f"https://{path.relative_to(accounts)}",
                AccountKey.from_pem(read(path / "account.key")),
                settings.get("ACCOUNT_URL") or None,
                (f"mailto:{email}",) if email else None,
            )
        )
    except ApplianceError as error:
        found.complaints.append(f"{path}: {error}")


def _settings(path: Path) -> dict[str, str]:
    """Shell assignments, never run."""
    lines = read(path).decode("utf-8", "replace").splitlines()
    matches = (_SETTING.fullmatch(line.strip()) for line in lines)
    return {match[1]: _decoded(match[2]) for match in matches if match}


def _decoded(value: str) -> str:
    encoded = _ENCODED.fullmatch(value)
    if encoded is None:
        return value
    try:
        return base64.b64decode(encoded[1], validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return value
