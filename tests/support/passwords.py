"""Hashes for tests that sign in often."""

from __future__ import annotations

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


def cheap_hash(password: bytes) -> str:
    """A hash as `passwords.hash_password` makes them, at the least cost there is: microseconds and 8 KiB."""
    return Argon2id(salt=b"salt of tests", length=32, iterations=1, lanes=1, memory_cost=8).derive_phc_encoded(password)
