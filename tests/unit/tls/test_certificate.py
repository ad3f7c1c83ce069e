"""Certificates read, written and judged."""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from appliance.errors import CertificateError
from appliance.tls.certificate import MAX_PEM, Certificate, wildcard_of
from appliance.tls.context import check_loads
from tests.support.certificates import Authority, make_certificate, make_key, shared_authority

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ORDINARY = make_certificate(["Example.com", "www.example.com", "*.Apps.example.com", "192.0.2.1", "2001:db8::1"])


def key_pem(key: object, format: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(Encoding.PEM, format, NoEncryption())  # type: ignore[attr-defined]


def leaf_pem(certificate: Certificate) -> bytes:
    return certificate.leaf.public_bytes(Encoding.PEM)


def read_error(pem: bytes) -> str:
    with pytest.raises(CertificateError) as caught:
        Certificate.from_pem(pem)
    return str(caught.value)


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa"])
def test_pem_round_trip(key_type: str) -> None:
    """What is written is read back: key, leaf and the intermediates in their order."""
    chain = tuple(Authority.make(name).certificate for name in ("Middle", "Upper"))
    made = make_certificate(["example.com"], key_type=key_type)
    certificate = Certificate(made.key, made.leaf, chain)
    read = Certificate.from_pem(certificate.to_pem())
    assert read == certificate
    assert read.key.private_numbers() == made.key.private_numbers()
    assert [c.subject.rfc4514_string() for c in read.intermediates] == ["CN=Middle", "CN=Upper"]


def test_pem_spellings() -> None:
    """Keys of the older formats, wherever they stand, text around the blocks and EC parameters are all fine."""
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    key = key_pem(ORDINARY.key, PrivateFormat.TraditionalOpenSSL)
    assert b"BEGIN EC PRIVATE KEY" in key
    read = Certificate.from_pem(b"subject: x\r\n" + leaf_pem(ORDINARY).replace(b"\n", b"\r\n") + parameters + key)
    assert read == ORDINARY


def test_key_is_not_shown() -> None:
    """The private key is in no representation, so in no log."""
    assert "key" not in repr(ORDINARY)


def test_unreadable_pem() -> None:
    """Each kind of unusable file is refused with its reason."""
    key, leaf = key_pem(ORDINARY.key), leaf_pem(ORDINARY)
    assert read_error(b"") == "0 private keys in the PEM file, exactly one is needed"
    assert read_error(key) == "no certificate in the PEM file"
    assert read_error(leaf).startswith("0 private keys")
    assert read_error(key + key + leaf).startswith("2 private keys")
    assert read_error(key + leaf[: len(leaf) // 2]) == "no certificate in the PEM file"
    assert "more than" in read_error(b" " * (MAX_PEM + 1))
    assert "'PUBLIC KEY' has no place" in read_error(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
    garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert read_error(key + garbage).startswith("certificate 1 of the PEM file cannot be read: ")
    assert read_error(key + leaf + garbage).startswith("certificate 2 of the PEM file cannot be read: ")
    broken_key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    assert read_error(broken_key + leaf).startswith("the private key cannot be read: ")


def test_unusable_keys() -> None:
    """Keys that browsers do not accept, and encrypted ones, are refused."""
    odd = ed25519.Ed25519PrivateKey.generate()
    assert "Ed25519PrivateKey; browsers accept RSA and ECDSA only" in read_error(key_pem(odd) + leaf_pem(ORDINARY))
    encrypted = ORDINARY.key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")
    )
    assert "the private key cannot be read" in read_error(encrypted + leaf_pem(ORDINARY))


def test_unreadable_names() -> None:
    """A leaf whose names make no sense is refused as it is read, not at the first handshake."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(ORDINARY.key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + DAY)
    names = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"junk")
    leaf = builder.add_extension(names, critical=False).sign(ORDINARY.key, SHA256())
    pem = key_pem(ORDINARY.key) + leaf.public_bytes(Encoding.PEM)
    assert read_error(pem).startswith("certificate 1 of the PEM file cannot be read: ")


def with_leaf(der: bytes) -> bytes:
    """`ORDINARY` as PEM, with another certificate."""
    return key_pem(ORDINARY.key) + ssl.DER_cert_to_PEM_cert(der).encode()


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_damaged_certificates() -> None:
    """A bit that fell over, whichever it is: the certificate is read, or refused in words, and never later."""
    whole = ORDINARY.leaf.public_bytes(Encoding.DER)
    refused = 0
    for number in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[number // 8] ^= 1 << number % 8
        try:
            made = Certificate.from_pem(with_leaf(bytes(damaged)))
        except CertificateError:
            refused += 1
            continue
        assert made.issuer
        with suppress(CertificateError):  # its key may be another's now
            check_loads(made)
    assert refused > len(whole)


def test_damage_that_only_openssl_sees() -> None:
    """A name of no kind that there is."""
    whole = ORDINARY.leaf.public_bytes(Encoding.DER)
    where = whole.index(b"Test Root") - 2
    damaged = whole[:where] + bytes([whole[where] ^ 8]) + whole[where + 1 :]
    assert read_error(with_leaf(damaged)).startswith("certificate 1 of the PEM file cannot be read: ")


def test_intermediates_are_kept_once() -> None:
    """However many certificates have them; thousands do."""
    chain = (Authority.make("Middle").certificate,)
    pems = [Certificate(ORDINARY.key, ORDINARY.leaf, chain).to_pem() for _ in range(2)]
    one, two = (Certificate.from_pem(pem) for pem in pems)
    assert one.intermediates[0] is two.intermediates[0]


def test_fields() -> None:
    """What is shown of a certificate: names, dates with their zone, serial number, issuer."""
    certificate = make_certificate(["a.example"], not_before=NOW, not_after=NOW + DAY)
    assert certificate.not_before == NOW
    assert certificate.not_after == NOW + DAY
    assert certificate.serial == certificate.leaf.serial_number
    assert certificate.issuer == "CN=Test Root"
    assert ORDINARY.names == {"example.com", "www.example.com", "*.apps.example.com", "192.0.2.1", "2001:db8::1"}


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("example.com", True),
        ("EXAMPLE.com", True),
        ("www.example.com", True),
        ("mail.example.com", False),
        ("apps.example.com", False),
        ("one.apps.example.com", True),
        ("two.one.apps.example.com", False),
        ("*.apps.example.com", True),
        ("*.example.com", False),
        (".apps.example.com", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("com", False),
        ("", False),
    ],
)
def test_covers(name: str, covered: bool) -> None:
    """A name is covered by itself or by a wildcard for exactly its first label."""
    assert ORDINARY.covers(name) is covered


@pytest.mark.parametrize(
    ("name", "wildcard"),
    [("a.b.c", "*.b.c"), ("a.b", "*.b"), ("a", ""), ("", ""), ("*.b", ""), (".b", ""), ("a.", "")],
)
def test_wildcard_of(name: str, wildcard: str) -> None:
    """The one wildcard that stands for a name, if any does."""
    assert wildcard_of(name) == wildcard


def test_check_passes() -> None:
    """A certificate may be served from its first second to before its last."""
    certificate = make_certificate(["a.example", "*.b.example"], not_before=NOW, not_after=NOW + DAY)
    certificate.check(["a.example", "x.b.example", "*.b.example"], NOW)
    certificate.check(["a.example"], NOW + DAY - timedelta(seconds=1))
    certificate.check([], NOW)


def test_check_lists_everything() -> None:
    """All that is wrong is said at once."""
    made = make_certificate(["a.example"], not_before=NOW, not_after=NOW + DAY)
    certificate = Certificate(make_key(), made.leaf)
    with pytest.raises(CertificateError) as early:
        certificate.check(["c.example", "a.example", "b.example"], NOW - DAY)
    assert str(early.value) == (
        f"the certificate {made.serial:x} from CN=Test Root: its private key does not belong to it; "
        "it does not cover b.example, c.example (it covers a.example); "
        "it is not valid before 2030-01-01 00:00:00 UTC (is the clock right?)"
    )
    with pytest.raises(CertificateError, match=r"it expired at 2030-01-02 00:00:00 UTC$"):
        made.check(["a.example"], NOW + DAY)


def test_no_names() -> None:
    """A certificate without alternative names covers nothing, whatever its common name says."""
    key = make_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(shared_authority().certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + DAY)
        .sign(ec.generate_private_key(ec.SECP256R1()), make_certificate(["x"]).leaf.signature_hash_algorithm)  # type: ignore[arg-type]
    )
    certificate = Certificate(key, leaf)
    assert certificate.names == frozenset()
    with pytest.raises(CertificateError, match="it covers no name at all"):
        certificate.check(["a.example"], NOW)
