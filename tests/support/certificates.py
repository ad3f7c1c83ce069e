"""Certificates made on the spot: self-signed, or by a private CA that lives as long as the test run."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.tls.certificate import Certificate, PrivateKey

DAY = timedelta(days=1)


def make_key(key_type: str = "p256") -> PrivateKey:
    """A fresh key: ``p256``, ``p384`` or ``rsa`` (2048 bits)."""
    if key_type == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key({"p256": ec.SECP256R1, "p384": ec.SECP384R1}[key_type]())


@frozen
class Authority:
    """A private CA: its root's certificate and key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def pem(self) -> bytes:
        """The root, for a client's trust store (``curl --cacert``)."""
        return self.certificate.public_bytes(Encoding.PEM)

    @classmethod
    def make(cls, common_name: str = "Test Root") -> Authority:
        """A new root, valid for a year."""
        key = make_key()
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = _builder(name, name, key, now - DAY, now + 365 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return cls(builder.sign(key, SHA256()), key)


@cache
def shared_authority() -> Authority:
    """The root that signs everything in this run unless a test brings its own."""
    return Authority.make()


def make_certificate(
    names: Iterable[str],
    *,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    key_type: str = "p256",
    key: PrivateKey | None = None,
    authority: Authority | None = None,
    self_signed: bool = False,
) -> Certificate:
    """A certificate for ``names`` (DNS names, wildcards, IP addresses), by `shared_authority` if nobody else is named.

    Valid from an hour ago for 90 days, unless told otherwise. The root is not among the intermediates.
    """
    now = datetime.now(UTC)
    names = list(names)
    key = key or make_key(key_type)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])] if names else [])
    signer = authority or shared_authority()
    issuer = subject if self_signed else signer.certificate.subject
    builder = _builder(subject, issuer, key, not_before or now - DAY / 24, not_after or now + 90 * DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
    return Certificate(key, builder.sign(key if self_signed else signer.key, SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
