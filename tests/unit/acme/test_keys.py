"""Certificates' keys."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from appliance.acme import keys


@pytest.mark.parametrize(("name", "bits"), [("p256", 256), ("p384", 384), ("rsa2048", 2048), ("rsa3072", 3072)])
def test_kinds(name: str, bits: int) -> None:
    """Each makes what it says, a fresh one each time; PEM and back is the same key."""
    key, other = keys.TYPES[name](), keys.TYPES[name]()
    assert key.key_size == bits
    assert isinstance(key, rsa.RSAPrivateKey if name.startswith("rsa") else ec.EllipticCurvePrivateKey)
    assert key.private_numbers() != other.private_numbers()
    assert keys.from_pem(keys.to_pem(key)).private_numbers() == key.private_numbers()


def test_the_largest() -> None:
    """4096 bits are offered; they take too long to make here."""
    assert set(keys.TYPES) == {"p256", "p384", "rsa2048", "rsa3072", "rsa4096"}
    assert keys.DEFAULT == "p256"


def test_others() -> None:
    """What is no key, or one that browsers do not take, is a ValueError."""
    strange = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for pem in (b"", b"nonsense", strange):
        with pytest.raises(ValueError):
            keys.from_pem(pem)
