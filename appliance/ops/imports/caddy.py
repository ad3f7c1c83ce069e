"""Caddy's storage folder (certmagic's layout): ``certificates/ISSUER/NAME/NAME.crt`` and ``acme/ISSUER/users/MAIL``.

ISSUER is the directory's URL with dashes for what file names do not take; some versions write the URL itself into the
``.json`` beside each certificate.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from appliance.acme.jose import AccountKey
from appliance.errors import ApplianceError, StoreError
from appliance.ops.imports.found import Found, FoundAccount, files, folders, is_there, read, read_object

DEFAULTS = (Path("/var/lib/caddy/.local/share/caddy"), Path("~/.local/share/caddy"))
MOVED_ON = "systemctl disable --now caddy"

_KNOWN = {
    "acme-v02.api.letsencrypt.org-directory": "https://acme-v02.api.letsencrypt.org/directory",
    "acme-staging-v02.api.letsencrypt.org-directory": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "acme.zerossl.com-v2-dv90": "https://acme.zerossl.com/v2/DV90",
    "dv.acme-v02.api.pki.goog-directory": "https://dv.acme-v02.api.pki.goog/directory",
}


def read_caddy(folder: Path) -> Found:
    """Everything usable. Raises StoreError if ``folder`` is not Caddy's or cannot be read."""
    if not any(is_there(folder / name) for name in ("certificates", "acme")):
        raise StoreError(f"{folder} is not Caddy's storage: it has neither certificates nor acme")
    found = Found()
    directories = dict(_KNOWN)
    for issuer in folders(folder / "certificates"):
        for site in folders(issuer):
            _read_certificate(issuer.name, site, directories, found)
    for issuer in folders(folder / "acme"):
        for user in folders(issuer / "users"):
            _read_account(user, issuer.name, directories, found)
    if found.certificates:
        found.hints.append(f"Caddy's local CA and on-demand names are not taken over; to end it: {MOVED_ON}")
    return found


def _read_certificate(issuer: str, site: Path, directories: dict[str, str], found: Found) -> None:
    try:
        pem = read(site / f"{site.name}.key") + read(site / f"{site.name}.crt")
    except StoreError as error:
        found.complaints.append(str(error))
        return
    if issuer != "local":
        found.add_certificate(site, pem)
    for details in files(site, ".json"):
        for url in _directories_in(details):
            directories.setdefault(issuer, url)


def _directories_in(details: Path) -> Iterator[str]:
    """The directory's URL, where this version of Caddy wrote it."""
    try:
        issuer_data = read_object(details).get("issuer_data")
    except StoreError:
        return
    if isinstance(issuer_data, dict) and isinstance(issuer_data.get("ca"), str):
        yield issuer_data["ca"]


def _read_account(user: Path, issuer: str, directories: dict[str, str], found: Found) -> None:
    for path in files(user, ".key"):
        try:
            details = read_object(path.with_suffix(".json"))
            contact, url = details.get("contact"), details.get("location")
            directory = directories.get(issuer) or _guess(issuer, str(url))
            if directory is None:
                raise StoreError("which CA it is for is not known")
            found.accounts.append(
                FoundAccount(
                    path,
                    directory,
                    AccountKey.from_pem(read(path)),
                    url if isinstance(url, str) else None,
                    tuple(map(str, contact)) if isinstance(contact, list) else None,
                )
            )
        except ApplianceError as error:
            found.complaints.append(f"{path}: {error}")


def _guess(issuer: str, account_url: str) -> str | None:
    """The directory's URL from its folder's name, by the help of the account's, which has the same host."""
    try:
        host = urlsplit(account_url).netloc
    except ValueError:
        return None
    name = host.replace(":", "-").lower()
    if not host or not issuer.startswith(f"{name}-"):
        return None
    return f"https://{host}{issuer.removeprefix(name).replace('-', '/')}"
