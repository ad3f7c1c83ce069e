"""What another ACME client's folder holds, as far as it can be taken over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen

from appliance import atomicfile
from appliance.acme.jose import AccountKey
from appliance.errors import ApplianceError, StoreError
from appliance.tls.certificate import Certificate

MAX_ENTRIES = 10_000
"""Names read of one folder: more than that is no ACME client's."""


@frozen
class FoundCertificate:
    """A certificate with its key."""

    source: Path
    certificate: Certificate


@frozen
class FoundAccount:
    """An account at a CA."""

    source: Path
    directory: str
    """The URL of the CA's ACME directory."""
    key: AccountKey
    url: str | None = None
    """The account's; None lets the CA tell it again."""
    contact: tuple[str, ...] | None = None
    """As ``mailto:`` URLs; None where the client did not keep it."""
    created: str = ""
    """When it was made, as far as told; sorts by time."""


@frozen
class Found:
    """All of it, and what a human should know."""

    certificates: list[FoundCertificate] = field(factory=list)
    accounts: list[FoundAccount] = field(factory=list)
    hints: list[str] = field(factory=list)
    """Settings that have a counterpart here, to be made by hand."""
    complaints: list[str] = field(factory=list)
    """What could not be read."""

    def add_certificate(self, source: Path, pem: bytes) -> None:
        """Take a key and a chain, or note what is wrong with them."""
        try:
            self.certificates.append(FoundCertificate(source, Certificate.from_pem(pem)))
        except ApplianceError as error:
            self.complaints.append(f"{source}: {error}")


def read(path: Path) -> bytes:
    """A file that must be there. Raises StoreError."""
    content = atomicfile.read(path)
    if content is None:
        raise StoreError(f"{path} is missing")
    return content


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file that must be there. Raises StoreError."""
    try:
        content = json.loads(read(path))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} is not a JSON object")
    return content


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder. Raises StoreError if that cannot be seen."""
    try:
        path.stat()
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from error


def folders(path: Path) -> Iterator[Path]:
    """The folders below ``path``, sorted; none if it is none itself. Raises StoreError if it cannot be read."""
    return (entry for entry in _entries(path) if os.path.isdir(entry))


def files(path: Path, suffix: str) -> Iterator[Path]:
    """The files below ``path`` that end so, sorted."""
    return (entry for entry in _entries(path) if entry.name.endswith(suffix) and os.path.isfile(entry))


def _entries(path: Path) -> list[Path]:
    try:
        return [path / name for name in sorted(os.listdir(path))[:MAX_ENTRIES]]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot read {path}: {error.strerror}; run this as root")
