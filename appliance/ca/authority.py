"""The demo CA's keys: two roots, one intermediate that both have signed, and the signing of leaves."""

from __future__ import annotations

import base64
import ipaddress
import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Self

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.ca.model import Identifier
from appliance.errors import CertificateError

NAME = "Appliance demo CA - not trusted"
"""How every issuer name begins: whoever meets one of its certificates shall see what it is."""

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_ROOT_LIFE = timedelta(days=3650)
_INTERMEDIATE_LIFE = timedelta(days=1825)
_CLOCK_SKEW = timedelta(hours=1)
_LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\s*", re.DOTALL)


@frozen
class Authority:
    """Keys and certificates of the CA. One value is made at its creation and never changes."""

    root: x509.Certificate
    other_root: x509.Certificate
    """For alternate chains (RFC 8555 section 7.4.2)."""
    intermediate: x509.Certificate
    other_intermediate: x509.Certificate
    """The same name and key as ``intermediate``, signed by ``other_root``."""
    root_key: ec.EllipticCurvePrivateKey = field(repr=False)
    other_root_key: ec.EllipticCurvePrivateKey = field(repr=False)
    intermediate_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, now: datetime, suffixes: Sequence[str] | None) -> Self:
        """New keys. With ``suffixes`` the certificates carry name constraints (RFC 5280 section 4.2.1.10).

        So even a root that somebody trusted by mistake vouches for nothing but test names and loopback addresses.
        """
        mark = secrets.token_hex(3)
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
        names = [_name(f"{NAME} - {role} {mark}") for role in ("root X", "root Y", "intermediate")]
        constraints = None if suffixes is None else _constraints(suffixes)

        def signed(subject: int, issuer: int) -> x509.Certificate:
            life = _ROOT_LIFE if subject == issuer else _INTERMEDIATE_LIFE
            builder = _builder(names[subject], keys[subject].public_key(), names[issuer], keys[issuer].public_key())
            builder = _valid(builder, now - _CLOCK_SKEW, life)
            builder = _with_ca_extensions(builder, 1 if subject == issuer else 0, constraints)
            return builder.sign(keys[issuer], hashes.SHA256())

        return cls(signed(0, 0), signed(1, 1), signed(2, 0), signed(2, 1), *keys)

    def sign(
        self,
        key: PublicKey,
        identifiers: Iterable[Identifier],
        not_before: datetime,
        lifetime: timedelta,
        common_name: str | None = None,
    ) -> x509.Certificate:
        """A leaf for TLS servers. Without a common name its subject is empty and its names are critical."""
        subject = x509.Name([]) if common_name is None else _name(common_name)
        usage = _key_usage(digital_signature=True, key_encipherment=isinstance(key, rsa.RSAPublicKey))
        builder = (
            _valid(
                _builder(subject, key, self.intermediate.subject, self.intermediate_key.public_key()),
                not_before,
                lifetime,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_alternative_names(identifiers), critical=common_name is None)
        )
        return builder.sign(self.intermediate_key, hashes.SHA256())

    def chains(self, leaf: x509.Certificate) -> tuple[bytes, bytes]:
        """The PEM chains without root: the default one, then the alternate one."""
        first = leaf.public_bytes(serialization.Encoding.PEM)
        return tuple(
            first + intermediate.public_bytes(serialization.Encoding.PEM)
            for intermediate in (self.intermediate, self.other_intermediate)
        )  # type: ignore[return-value]

    @property
    def root_pem(self) -> bytes:
        """What to give to ``curl --cacert``."""
        return self.root.public_bytes(serialization.Encoding.PEM)

    @property
    def other_root_pem(self) -> bytes:
        """The root of the alternate chains."""
        return self.other_root.public_bytes(serialization.Encoding.PEM)

    @property
    def expires(self) -> datetime:
        """When the first of its certificates does."""
        return min(each.not_valid_after_utc for each in self._certificates)

    def constrained_to(self, suffixes: Sequence[str] | None) -> bool:
        """Whether it was created for exactly these suffixes."""
        found = self.root.extensions
        try:
            constraints = found.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return suffixes is None
        return suffixes is not None and constraints == _constraints(suffixes)

    def to_pem(self) -> bytes:
        """Everything, private keys included: keep it 0600."""
        encoding = serialization.Encoding.PEM
        keys = (self.root_key, self.other_root_key, self.intermediate_key)
        plain = serialization.NoEncryption()
        return b"".join(
            [each.public_bytes(encoding) for each in self._certificates]
            + [key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain) for key in keys]
        )

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """What ``to_pem`` wrote; raises CertificateError if it is anything else."""
        blocks = [(match[1], match[0]) for match in _BLOCK.finditer(pem)]
        try:
            certificates = [x509.load_pem_x509_certificate(block) for kind, block in blocks if kind == b"CERTIFICATE"]
            keys = [serialization.load_pem_private_key(block, None) for kind, block in blocks if kind == b"PRIVATE KEY"]
            root, other_root, intermediate, other_intermediate = certificates
            for certificate, key in zip((root, other_root, intermediate), keys, strict=True):
                if certificate.public_key() != key.public_key():
                    raise ValueError("keys and certificates do not belong together")
            intermediate.verify_directly_issued_by(root)
            other_intermediate.verify_directly_issued_by(other_root)
            return cls(root, other_root, intermediate, other_intermediate, *keys)  # type: ignore[arg-type]
        except Exception as error:
            raise CertificateError(
                f"the demo CA's keys are damaged: {error}; remove them, new ones are made"
            ) from error

    @property
    def _certificates(self) -> tuple[x509.Certificate, ...]:
        return (self.root, self.other_root, self.intermediate, self.other_intermediate)


def ari_identifier(certificate: x509.Certificate) -> str:
    """The certificate's name in RFC 9773 section 4.1: key identifier of its issuer, dot, serial number as in DER."""
    authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert authority is not None
    serial = certificate.serial_number
    return f"{_base64url(authority)}.{_base64url(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative_names(identifiers: Iterable[Identifier]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.DNSName(each.value) if each.type == "dns" else x509.IPAddress(ipaddress.ip_address(each.value))
            for each in identifiers
        ]
    )


def _constraints(suffixes: Sequence[str]) -> x509.NameConstraints:
    permitted: list[x509.GeneralName] = [x509.DNSName(suffix) for suffix in suffixes]
    permitted += [x509.IPAddress(network) for network in _LOOPBACK]
    return x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None)


def _builder(
    subject: x509.Name, key: PublicKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(subject_name=subject, public_key=key, issuer_name=issuer)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _valid(builder: x509.CertificateBuilder, not_before: datetime, lifetime: timedelta) -> x509.CertificateBuilder:
    start = not_before.replace(microsecond=0)
    return builder.not_valid_before(start).not_valid_after(start + lifetime)


def _with_ca_extensions(
    builder: x509.CertificateBuilder, path_length: int, constraints: x509.NameConstraints | None
) -> x509.CertificateBuilder:
    usage = _key_usage(key_cert_sign=True, crl_sign=True, digital_signature=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return builder if constraints is None else builder.add_extension(constraints, critical=True)


def _key_usage(**given: bool) -> x509.KeyUsage:
    everything = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
        " key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{use: given.get(use, False) for use in everything.split()})
