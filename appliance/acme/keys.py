"""Certificates' private keys. Pure; RSA takes seconds to make, so callers in the reactor go through a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from appliance.tls.certificate import PrivateKey

DEFAULT = "p256"


def _rsa(bits: int) -> Callable[[], PrivateKey]:
    return lambda: rsa.generate_private_key(public_exponent=65537, key_size=bits)


TYPES: Mapping[str, Callable[[], PrivateKey]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa2048": _rsa(2048),
    "rsa3072": _rsa(3072),
    "rsa4096": _rsa(4096),
}
"""By their names in the configuration."""


def to_pem(key: PrivateKey) -> bytes:
    """PKCS#8, unencrypted: for files that only their owner can read."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def from_pem(pem: bytes) -> PrivateKey:
    """What ``to_pem`` wrote. Raises ValueError."""
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, PrivateKey):
        raise ValueError("neither an RSA nor an elliptic curve key")
    return key
