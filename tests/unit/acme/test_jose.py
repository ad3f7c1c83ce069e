"""Signing: what a CA would verify, verified here with cryptography and josepy."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from josepy import b64, jwa, jwk

from appliance.acme.jose import AccountKey, b64url
from appliance.errors import AcmeError

ALGORITHMS = ["ES256", "ES384", "RS256"]


def opened(body: bytes) -> tuple[dict[str, Any], bytes, dict[str, str]]:
    """The protected header, the payload, the envelope."""
    envelope = json.loads(body)
    return json.loads(b64.b64decode(envelope["protected"])), b64.b64decode(envelope["payload"]), envelope


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signature_verifies(algorithm: str) -> None:
    """Each algorithm's signature verifies under the JWK that is sent along."""
    body = AccountKey.generate(algorithm).sign({"b": 1, "a": "é"}, url="https://ca.test/x", nonce="n-1")
    header, payload, envelope = opened(body)
    assert set(envelope) == {"protected", "payload", "signature"}
    assert header["alg"] == algorithm
    signed = f"{envelope['protected']}.{envelope['payload']}".encode()
    public: Any = jwk.JWK.from_json(header["jwk"])
    assert jwa.JWASignature.from_json(algorithm).verify(public.key, signed, b64.b64decode(envelope["signature"]))
    assert json.loads(payload) == {"a": "é", "b": 1}


def test_header_has_key_before_and_url_after_registration() -> None:
    """Either ``jwk`` or ``kid``, never both; nonce and URL always (RFC 8555 section 6.2)."""
    key = AccountKey.generate()
    header, _, _ = opened(key.sign({}, url="u", nonce="n"))
    assert header == {"alg": "ES256", "jwk": key.public_jwk, "nonce": "n", "url": "u"}
    header, _, _ = opened(key.sign({}, url="u", nonce="n", kid="https://ca.test/account/1"))
    assert header == {"alg": "ES256", "kid": "https://ca.test/account/1", "nonce": "n", "url": "u"}


def test_post_as_get_has_an_empty_payload() -> None:
    """None is the empty string, not ``null``; an empty object stays one (section 6.3)."""
    key = AccountKey.generate()
    assert opened(key.sign(None, url="u", nonce="n"))[1] == b""
    assert opened(key.sign({}, url="u", nonce="n"))[1] == b"{}"


def test_public_jwk_is_public() -> None:
    """The private number is not in it."""
    assert set(AccountKey.generate("ES384").public_jwk) == {"kty", "crv", "x", "y"}
    assert set(AccountKey.generate("RS256").public_jwk) == {"kty", "e", "n"}


def test_thumbprint_of_rfc_7638() -> None:
    """SHA-256 over the required members, sorted, without spaces (section 3.1)."""
    key = AccountKey.generate("RS256")
    members = json.dumps({name: key.public_jwk[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
    assert key.thumbprint == b64url(hashlib.sha256(members.encode()).digest())
    assert key.key_authorization("tok") == f"tok.{key.thumbprint}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pem_round_trip(algorithm: str) -> None:
    """What is written is read back as the same account."""
    key = AccountKey.generate(algorithm)
    assert AccountKey.from_pem(key.to_pem()).thumbprint == key.thumbprint


def test_repr_keeps_the_secret() -> None:
    """Nothing of the key is in what a log line could show."""
    assert repr(AccountKey.generate()) == "AccountKey(_algorithm=ES256)"


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: ed25519.Ed25519PrivateKey.generate(),
        lambda: rsa.generate_private_key(65537, 1024),
    ],
    ids=["p521", "ed25519", "small rsa"],
)
def test_other_keys_are_refused(make: Any) -> None:
    """An account key is of a kind that CAs take."""
    with pytest.raises(AcmeError, match="P-256, P-384, or RSA"):
        AccountKey.of(make())


def test_unknown_algorithm() -> None:
    """It is named, with those that exist."""
    with pytest.raises(AcmeError, match="'none' is not one of ES256"):
        AccountKey.generate("none")


@pytest.mark.parametrize("pem", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_unreadable_key(pem: bytes) -> None:
    """Rubbish is an AcmeError, whatever cryptography makes of it."""
    with pytest.raises(AcmeError, match="not a readable PEM"):
        AccountKey.from_pem(pem)


@pytest.mark.parametrize("secret", [b"0123456789abcdef", b"x" * 31, b"\xff\xfe" * 16])
@pytest.mark.parametrize("padding", ["", "="])
def test_external_account_binding(secret: bytes, padding: str) -> None:
    """The account's public key under the CA's HMAC, with the key id and URL (section 7.3.4); padding is forgiven."""
    key = AccountKey.generate()
    bound = key.bind("kid-1", f" {b64url(secret)}{padding}\n", url="https://ca.test/new")
    assert json.loads(b64.b64decode(bound["protected"])) == {
        "alg": "HS256",
        "kid": "kid-1",
        "url": "https://ca.test/new",
    }
    assert json.loads(b64.b64decode(bound["payload"])) == key.public_jwk
    signed = f"{bound['protected']}.{bound['payload']}".encode()
    assert b64.b64decode(bound["signature"]) == hmac.digest(secret, signed, "sha256")


@pytest.mark.parametrize("text", ["", "not base64!", "ab+/", "abcde", "ä"])
def test_hmac_key_is_read_strictly(text: str) -> None:
    """A mistyped key is said to be one, instead of signing with something else."""
    with pytest.raises(AcmeError, match="hmac_key is not base64url"):
        AccountKey.generate().bind("kid", text, url="u")
