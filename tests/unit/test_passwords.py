"""Hashes of passwords."""

from __future__ import annotations

import pytest

from appliance.passwords import MEMORY_KIB, PASSES, PasswordHashError, check_hash, hash_password, matches

HASHED = hash_password(b"correct horse")
CHEAP = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$"


def test_round_trip() -> None:
    """A hash is that of one password, and made with a salt of its own."""
    assert HASHED.startswith(f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1$")
    check_hash(HASHED)
    assert matches(b"correct horse", HASHED)
    assert not matches(b"correct horsf", HASHED)
    assert not matches(b"", HASHED)
    assert hash_password(b"correct horse") != HASHED


def test_made_elsewhere() -> None:
    """What other programs made is understood: this one is from RFC 9106's reference implementation."""
    assert matches(
        b"password",
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "$2b$12$abcdefghijklmnopqrstuv",
        HASHED.replace("argon2id", "argon2i"),
        HASHED.replace("v=19", "v=16"),
        HASHED + "=",
        HASHED + "\n",
        HASHED.replace("t=2", "t=0"),
        HASHED.rpartition("$")[0],
    ],
)
def test_no_hash(text: str) -> None:
    """Passwords, other schemes, broken ones."""
    with pytest.raises(PasswordHashError, match="hash-password"):
        check_hash(text)


@pytest.mark.parametrize("costs", ["m=262145,t=2,p=1", "m=19456,t=17,p=1", "m=19456,t=2,p=9", "m=15,t=2,p=2"])
def test_costs(costs: str) -> None:
    """A hash that takes a gigabyte or a minute would stand still whom it should let in."""
    with pytest.raises(PasswordHashError, match="at most"):
        check_hash(HASHED.replace(f"m={MEMORY_KIB},t={PASSES},p=1", costs))


def test_of_no_use() -> None:
    """A hash that cannot be worked out matches nothing."""
    assert not matches(b"x", "secret")
