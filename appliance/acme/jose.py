"""Signing of ACME requests: flattened JWS, thumbprints, key authorizations, external accounts (RFC 8555 section 6.2).

josepy does the keys and signatures; only the envelope is written here, because ACME adds ``nonce`` and ``url`` to it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from josepy import b64, jwa, jwk

from appliance.errors import AcmeError

SMALLEST_RSA = 2048
BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}\Z")


def b64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return b64.b64encode(data).decode("ascii")


@frozen
class AccountKey:
    """An ACME account's private key and the algorithm it signs with."""

    _jwk: jwk.JWK = field(repr=False)
    _algorithm: jwa.JWASignature

    @classmethod
    def generate(cls, algorithm: str = "ES256") -> AccountKey:
        """A fresh key for ``ES256``, ``ES384`` or ``RS256``. Raises AcmeError for another algorithm."""
        if algorithm == "ES256":
            return cls.of(ec.generate_private_key(ec.SECP256R1()))
        if algorithm == "ES384":
            return cls.of(ec.generate_private_key(ec.SECP384R1()))
        if algorithm == "RS256":
            return cls.of(rsa.generate_private_key(public_exponent=65537, key_size=SMALLEST_RSA))
        raise AcmeError(f"account key algorithm {algorithm!r} is not one of ES256, ES384, RS256")

    @classmethod
    def of(cls, key: object) -> AccountKey:
        """Wrap a cryptography private key. Raises AcmeError for a kind ACME accounts cannot have."""
        if isinstance(key, ec.EllipticCurvePrivateKey):
            if isinstance(key.curve, ec.SECP256R1):
                return cls(jwk.JWKEC(key=key), jwa.ES256)
            if isinstance(key.curve, ec.SECP384R1):
                return cls(jwk.JWKEC(key=key), jwa.ES384)
        elif isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SMALLEST_RSA:
            return cls(jwk.JWKRSA(key=key), jwa.RS256)
        raise AcmeError("an account key must be P-256, P-384, or RSA of at least 2048 bits")

    @classmethod
    def from_pem(cls, pem: bytes) -> AccountKey:
        """Read an unencrypted PEM private key. Raises AcmeError."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise AcmeError(f"the account key is not a readable PEM private key: {error}") from error
        return cls.of(key)

    def to_pem(self) -> bytes:
        """PKCS#8, unencrypted: to be written 0600."""
        private: Any = self._jwk.key
        return bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def public_jwk(self) -> dict[str, Any]:
        """The public half as JSON."""
        return dict(self._jwk.public_key().to_json())

    @property
    def thumbprint(self) -> str:
        """RFC 7638, SHA-256, base64url."""
        return b64url(self._jwk.public_key().thumbprint())

    def key_authorization(self, token: str) -> str:
        """What proves control to the CA: token and thumbprint (RFC 8555 section 8.1)."""
        return f"{token}.{self.thumbprint}"

    def sign(self, payload: object | None, *, url: str, nonce: str, kid: str | None = None) -> bytes:
        """A request body: flattened JWS over ``payload`` as JSON; None is POST-as-GET's empty payload (section 6.3).

        With the account URL as ``kid`` once there is one, with the public key itself before (section 6.2).
        """
        header: dict[str, Any] = {"alg": self._algorithm.name, "nonce": nonce, "url": url}
        header |= {"kid": kid} if kid is not None else {"jwk": self.public_jwk}
        text = b"" if payload is None else _dump(payload)
        return _dump(_flattened(header, text, self._jwk, self._algorithm))

    def take_over(self, account_url: str, old: AccountKey, *, url: str) -> dict[str, str]:
        """The request to give this key to an account that has ``old``, for that to sign (section 7.3.5)."""
        header = {"alg": self._algorithm.name, "jwk": self.public_jwk, "url": url}
        payload = {"account": account_url, "oldKey": old.public_jwk}
        return _flattened(header, _dump(payload), self._jwk, self._algorithm)

    def bind(self, kid: str, hmac_key: str, *, url: str) -> dict[str, str]:
        """``externalAccountBinding``: this key signed with the CA's HMAC key (section 7.3.4). Raises AcmeError."""
        secret = jwk.JWKOct(key=_hmac_secret(hmac_key))
        header = {"alg": jwa.HS256.name, "kid": kid, "url": url}
        return _flattened(header, _dump(self.public_jwk), secret, jwa.HS256)


def _hmac_secret(text: str) -> bytes:
    """Decode strictly: josepy would silently skip letters that do not belong."""
    stripped = text.strip()
    if not BASE64URL.match(stripped) or len(stripped.rstrip("=")) % 4 == 1:
        raise AcmeError("acme.external_account.hmac_key is not base64url: copy it again exactly as the CA shows it")
    return b64.b64decode(stripped.rstrip("="))


def _flattened(header: dict[str, Any], payload: bytes, key: jwk.JWK, algorithm: jwa.JWASignature) -> dict[str, str]:
    protected, body = b64url(_dump(header)), b64url(payload)
    signature = algorithm.sign(key.key, f"{protected}.{body}".encode("ascii"))
    return {"protected": protected, "payload": body, "signature": b64url(signature)}


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode("utf-8")
