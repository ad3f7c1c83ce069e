"""Certbot's folder, ``/etc/letsencrypt``: ``accounts``, ``live`` and ``archive``, ``renewal``.

``live/NAME`` holds links into ``archive/NAME``, where generations are numbered. Account keys are JWK; the CA's URL is
their folder's name, with ``https://`` left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from josepy.jwk import JWK

from appliance.acme.jose import AccountKey
from appliance.errors import ApplianceError, StoreError
from appliance.ops.imports.found import Found, FoundAccount, files, folders, is_there, read, read_object

DEFAULTS = (Path("/etc/letsencrypt"),)
MOVED_ON = "systemctl disable --now certbot.timer"

_GENERATION = re.compile(r"fullchain([0-9]{1,6})\.pem")
_SETTING = re.compile(r"([a-z0-9_]+) *= *(.*)")
_HOOKS = ("renew_hook", "pre_hook", "post_hook")
_NO_HINT = frozenset({"standalone", "webroot", "nginx", "apache", "manual"})


def read_certbot(folder: Path) -> Found:
    """Everything usable. Raises StoreError if ``folder`` is not certbot's or cannot be read."""
    if not any(is_there(folder / name) for name in ("live", "archive", "accounts")):
        raise StoreError(f"{folder} is not certbot's: it has neither live nor archive nor accounts")
    found = Found()
    for lineage in _lineages(folder):
        _read_lineage(folder, lineage, found)
    for conf in files(folder / "renewal", ".conf"):
        _read_hints(conf, found)
    for path in _account_folders(folder / "accounts"):
        _read_account(folder / "accounts", path, found)
    if found.certificates:
        found.hints.append(f"certbot still renews by itself: once all is well here, {MOVED_ON}")
    return found


def _lineages(folder: Path) -> list[str]:
    return sorted({path.name for place in ("live", "archive") for path in folders(folder / place)})


def _read_lineage(folder: Path, name: str, found: Found) -> None:
    """What is live; else, where the links are broken, the newest generation that is whole."""
    live = folder / "live" / name
    try:
        found.add_certificate(live, read(live / "privkey.pem") + read(live / "fullchain.pem"))
        return
    except StoreError as error:
        trouble = str(error)
    archive = folder / "archive" / name
    matches = (_GENERATION.fullmatch(path.name) for path in files(archive, ".pem"))
    for number in sorted((int(match[1]) for match in matches if match), reverse=True):
        try:
            pem = read(archive / f"privkey{number}.pem") + read(archive / f"fullchain{number}.pem")
        except StoreError:
            continue
        found.add_certificate(archive / f"fullchain{number}.pem", pem)
        return
    found.complaints.append(f"{name}: {trouble}")


def _read_hints(conf: Path, found: Found) -> None:
    try:
        settings = dict(_settings(read(conf).decode("utf-8", "replace")))
    except StoreError as error:
        found.complaints.append(str(error))
        return
    name = conf.name.removesuffix(".conf")
    authenticator = settings.get("authenticator", "")
    if authenticator and authenticator not in _NO_HINT:
        found.hints.append(f"{name}: proved by certbot's {authenticator}: set up DNS-01 for it, see [acme.dns]")
    for hook in _HOOKS:
        if settings.get(hook):
            found.hints.append(f"{name}: certbot ran {settings[hook]!r} as {hook}: see deploy_hook in [[site]]")


def _settings(text: str) -> list[tuple[str, str]]:
    matches = (_SETTING.fullmatch(line.strip()) for line in text.splitlines())
    return [(match[1], match[2].strip()) for match in matches if match and match[2].strip() not in ("", "None")]


def _account_folders(accounts: Path, depth: int = 0) -> list[Path]:
    """Folders with a key in them, at whatever depth the CA's URL has."""
    below = []
    for path in folders(accounts):
        if is_there(path / "private_key.json"):
            below.append(path)
        elif depth < 6 and not path.is_symlink():  # acme-v01's lead to acme-v02's
            below += _account_folders(path, depth + 1)
    return below


def _read_account(accounts: Path, path: Path, found: Found) -> None:
    try:
        registration = read_object(path / "regr.json")
        body = registration.get("body")
        contact = body.get("contact") if isinstance(body, dict) else None
        created = read_object(path / "meta.json").get("creation_dt", "") if is_there(path / "meta.json") else ""
        url = registration.get("uri")
        found.accounts.append(
            FoundAccount(
                path,
                f"https://{path.parent.relative_to(accounts)}",
                _key(path / "private_key.json"),
                url if isinstance(url, str) else None,
                tuple(map(str, contact)) if isinstance(contact, list) else None,
                str(created),
            )
        )
    except ApplianceError as error:
        found.complaints.append(str(error))


def _key(path: Path) -> AccountKey:
    content = read(path)
    try:
        key = JWK.json_loads(content.decode("ascii"))
    except Exception as error:  # whatever josepy meets in what is no key: KeyError, TypeError, RecursionError …
        raise StoreError(f"{path} is no JWK: {type(error).__name__}") from error
    try:
        return AccountKey.of(getattr(key.key, "_wrapped", key.key))
    except ApplianceError as error:
        raise StoreError(f"{path}: {error}") from error
