"""Passwords as Argon2id hashes (RFC 9106), written ``$argon2id$v=19$m=…,t=…,p=…$salt$hash`` as everywhere."""

from __future__ import annotations

import re
from os import urandom

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from appliance.errors import ApplianceError

MEMORY_KIB = 19 * 1024
PASSES = 2
"""What OWASP asks for at least: some 30 ms, and so little memory that guesses do not exhaust it."""

MAX_MEMORY_KIB = 256 * 1024
MAX_PASSES = 16
MAX_LANES = 8

_NUMBER = r"([1-9][0-9]{0,8})"
_HASH = re.compile(
    rf"\$argon2id\$v=19\$m={_NUMBER},t={_NUMBER},p={_NUMBER}\$[A-Za-z0-9+/]{{11,86}}\$[A-Za-z0-9+/]{{22,86}}"
)


class PasswordHashError(ApplianceError):
    """What should be a hash is none, or none that would be worked out on every sign-in."""


def hash_password(password: bytes) -> str:
    """A hash to keep, with a salt of its own. Takes some 30 ms and 19 MiB."""
    derivation = Argon2id(salt=urandom(16), length=32, iterations=PASSES, lanes=1, memory_cost=MEMORY_KIB)
    return derivation.derive_phc_encoded(password)


def check_hash(text: str) -> None:
    """Raises PasswordHashError for what `matches` could not use, or could be kept busy by."""
    found = _HASH.fullmatch(text)
    if found is None:
        raise PasswordHashError("must be a hash that `appliance hash-password` has printed: $argon2id$v=19$…")
    memory, passes, lanes = map(int, found.groups())
    if memory > MAX_MEMORY_KIB or passes > MAX_PASSES or lanes > MAX_LANES or memory < 8 * lanes:
        raise PasswordHashError(
            f"must cost at most m={MAX_MEMORY_KIB}, t={MAX_PASSES}, p={MAX_LANES}, as every new client waits for it"
        )


def matches(password: bytes, text: str) -> bool:
    """Whether a hash is that of a password. Takes as long as the hash says, the same time for right and wrong ones."""
    try:
        Argon2id.verify_phc_encoded(password, text)
    except (InvalidKey, ValueError):
        return False
    return True
