"""Signed requests: the flattened JWS of RFC 8555 section 6.2, strictly read, and its signature."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from typing import Any

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.jwa import ES256, ES384, RS256
from josepy.jwk import JWK, JWKEC

from appliance.ca.problems import RefusalError, problem, refusal

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_EC_ALGORITHMS = {"secp256r1": ES256, "secp384r1": ES384}
ALGORITHMS = ("ES256", "ES384", "RS256")
"""What account keys may sign with."""


@frozen
class SignedMessage:
    """A JWS taken apart; nothing in it is believed before ``verify``."""

    header: dict[str, Any]
    payload: bytes
    signature: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)

    @classmethod
    def parse(cls, source: object) -> SignedMessage:
        """From the flattened JSON serialization, as text or already decoded; refuses with ``malformed``."""
        message = read_json(source) if isinstance(source, bytes) else source
        if not isinstance(message, dict) or set(message) != {"protected", "payload", "signature"}:
            raise refusal(
                "malformed", "a request is one JWS object with protected, payload and signature, nothing else"
            )
        parts = {key: _decode(key, value) for key, value in message.items()}
        header = read_json(parts["protected"])
        if not isinstance(header, dict) or "crit" in header or not isinstance(header.get("alg"), str):
            raise refusal("malformed", "the protected header is an object with alg and without crit")
        signing_input = f"{message['protected']}.{message['payload']}".encode()
        return cls(header, parts["payload"], parts["signature"], signing_input)

    def verify(self, key: JWK) -> None:
        """Refuse unless this key signed it by the one algorithm that fits the key."""
        public = key.key
        algorithm = _EC_ALGORITHMS.get(public.curve.name) if isinstance(key, JWKEC) else RS256
        if algorithm is None or self.header["alg"] != algorithm.name:
            raise refusal("malformed", f"alg {self.header['alg'][:20]!r} does not fit the key's type")
        if not algorithm.verify(public, self.signing_input, self.signature):
            raise refusal("malformed", "the signature does not verify: altered, or made with another key")

    def verify_hmac(self, key: bytes) -> None:
        """Refuse unless this shared key made it by HS256 (section 7.3.4)."""
        expected = hmac.digest(key, self.signing_input, hashlib.sha256)
        if self.header["alg"] != "HS256" or not hmac.compare_digest(expected, self.signature):
            raise refusal("unauthorized", "the external account binding is not signed by HS256 with that account's key")


def read_json(source: bytes) -> Any:
    """The JSON value, or the refusal ``malformed``."""
    try:
        return json.loads(source)
    except (ValueError, RecursionError):
        raise refusal("malformed", "what should be JSON is not") from None


def read_key(jwk: object) -> JWK:
    """The public account key in a ``jwk`` header: P-256, P-384 or RSA of 2048 to 4096 bits."""
    if not isinstance(jwk, dict) or "d" in jwk or jwk.get("kty") not in ("EC", "RSA"):
        raise refusal("badPublicKey", "the key must be a public JWK of the type EC or RSA")
    try:
        key: Any = JWK.from_json(jwk)
        public = key.key.public_numbers().public_key()
    except Exception:
        # The library lets TypeError, KeyError, UnsupportedAlgorithm and others through for a malformed key.
        raise refusal("badPublicKey", "the key's numbers make no key") from None
    check_public_key(public)
    assert isinstance(key, JWK)
    return key


def check_public_key(key: object) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """The key, if it is of a kind and size that is accepted for accounts and certificates."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _EC_ALGORITHMS:
        return key
    if isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 4096 and key.public_numbers().e == 65537:
        return key
    raise refusal("badPublicKey", "keys are P-256, P-384, or RSA of 2048 to 4096 bits with exponent 65537")


def same_key(account_key: JWK, other: object) -> bool:
    """Whether a certificate's or CSR's public key is the account's; josepy's own wrapper says no to bare keys."""
    numbers = getattr(other, "public_numbers", None)
    return numbers is not None and bool(account_key.key.public_numbers() == numbers())


def check_algorithm(message: SignedMessage) -> None:
    """Refuse other algorithms than ours, with the list of ours (RFC 8555 section 6.2)."""
    if message.header["alg"] not in ALGORITHMS:
        found = problem("badSignatureAlgorithm", f"sign with one of {', '.join(ALGORITHMS)}")
        raise RefusalError(found, members={"algorithms": list(ALGORITHMS)})


def _decode(key: str, value: object) -> bytes:
    return decode_base64url(value, f"{key} of the JWS")


def decode_base64url(value: object, what: str) -> bytes:
    """Unpadded base64url (RFC 8555 section 6.1), or the refusal ``malformed``."""
    if isinstance(value, str) and _BASE64URL.fullmatch(value):
        try:
            return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        except binascii.Error:
            pass
    raise refusal("malformed", f"{what} is not unpadded base64url")


def thumbprint(key: JWK) -> bytes:
    """RFC 7638, SHA-256."""
    return bytes(key.thumbprint())


def key_authorization(token: str, thumbprint: bytes) -> str:
    """What proves that the account's owner holds the name (RFC 8555 section 8.1)."""
    return f"{token}.{base64.urlsafe_b64encode(thumbprint).rstrip(b'=').decode()}"
