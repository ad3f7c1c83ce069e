"""Copies of a certificate and its key for other programs: mail servers, databases, whatever else speaks TLS here."""

from __future__ import annotations

import contextlib
import grp
import os
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from appliance import atomicfile
from appliance.errors import StoreError
from appliance.tls.certificate import Certificate

KEY, CHAIN, COMBINED = "privkey.pem", "fullchain.pem", "combined.pem"
"""The key; leaf and intermediates; all of it, as HAProxy and lighttpd want it."""


def contents(certificate: Certificate) -> dict[str, bytes]:
    """What is written, by file name."""
    key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (certificate.leaf, *certificate.intermediates))
    return {KEY: key, CHAIN: chain, COMBINED: key + chain}


def export(certificate: Certificate, to: Path, group: str | None) -> bool:
    """
    Bring the copies in ``to`` up to date, each file whole at every moment; whether anything had to be written.

    They are their owner's alone (0600), or readable for ``group`` (0640, new folders 0750). Raises StoreError.
    """
    gid = _group_id(group) if group is not None else None
    _make_folder(to, gid)
    changed = False
    for name, content in contents(certificate).items():
        path = to / name
        if atomicfile.read(path) == content and _is_right(path, gid):
            continue
        atomicfile.replace(path, content)
        if gid is not None:
            _open_to_group(path, gid, 0o640)
        changed = True
    return changed


def _group_id(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise StoreError(f"there is no group {group}; make it (groupadd {group}), or name another") from None


def _make_folder(folder: Path, gid: int | None) -> None:
    """With what is missing above it; a folder that is there already stays as it is."""
    if os.path.isdir(folder):
        return
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    atomicfile.make_private_folder(folder)
    if gid is not None:
        for each in missing:
            _open_to_group(each, gid, 0o750)


def _is_right(path: Path, gid: int | None) -> bool:
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_mode & 0o777 == (0o600 if gid is None else 0o640) and gid in (None, found.st_gid)
    return False


def _open_to_group(path: Path, gid: int, mode: int) -> None:
    try:
        os.chown(path, -1, gid)
        os.chmod(path, mode)
    except OSError as error:
        name = grp.getgrgid(gid).gr_name
        raise StoreError(
            f"cannot give {path} to the group {name}: {error.strerror}; make the user that the service runs as a member"
            f" of it (usermod -aG {name} USER) and restart the service"
        ) from error
