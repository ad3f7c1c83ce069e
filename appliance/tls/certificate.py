"""What is served to prove a name: a private key, its certificate, the chain. Reading, writing and judging one.

Pure: nothing here knows Twisted or OpenSSL contexts, and the time is always a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from sys import intern
from typing import TypeAlias, cast

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)
from OpenSSL.crypto import X509
from OpenSSL.crypto import Error as OpenSSLError

from appliance.errors import CertificateError

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
"""What browsers accept in a server's certificate."""

MAX_PEM = 1024 * 1024
"""Bytes; a chain is a few KiB, so anything near this is the wrong file."""

_SHARED = 64
"""So many intermediates are kept once, whatever the number of certificates that have them."""

_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    OpenSSLError,
)
"""What is raised for damaged certificates; some of it is no ValueError."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\s.*?-----END \1-----", re.DOTALL)
_KEY_LABELS = frozenset({b"PRIVATE KEY", b"EC PRIVATE KEY", b"RSA PRIVATE KEY"})
_IGNORED_LABELS = frozenset({b"EC PARAMETERS"})  # `openssl ecparam -genkey` writes them before the key


@frozen(init=False)
class Certificate:
    """A private key, the leaf certificate for it, and the intermediates in the order they are sent.

    Thousands of them are in memory, few of which are ever shown to anybody: what is asked all the time is read once,
    key and leaf are kept as bytes, and intermediates, which many have in common, are kept once.
    """

    _key: bytes = field(repr=False, eq=False)
    """PKCS#8, DER."""
    _leaf: bytes = field(repr=False)
    """DER."""
    intermediates: tuple[x509.Certificate, ...] = field(repr=False)
    names: frozenset[str] = field(eq=False)
    """The subject alternative names: DNS names lower-case, as A-labels; IP addresses as text."""
    not_before: datetime = field(eq=False)
    """When it becomes valid; aware, UTC."""
    not_after: datetime = field(eq=False)
    """When it expires; aware, UTC."""
    serial: int = field(eq=False)
    """The leaf's serial number."""
    owned: bool = field(repr=False, eq=False)
    """Whether the key is the leaf's."""
    kind: str = field(repr=False, eq=False)
    """The key's and the signature's algorithms: OpenSSL takes all certificates of a kind, or none."""

    def __init__(
        self, key: PrivateKey, leaf: x509.Certificate, intermediates: tuple[x509.Certificate, ...] = ()
    ) -> None:
        """Whether they belong together is `check`'s to say."""
        public = leaf.public_key()
        spki = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        self.__attrs_init__(
            key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            leaf=leaf.public_bytes(Encoding.DER),
            intermediates=intermediates,
            names=_names(leaf),
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
            serial=leaf.serial_number,
            owned=key.public_key().public_bytes(*spki) == public.public_bytes(*spki),
            kind=intern(f"{type(key).__name__} {key.key_size} {leaf.signature_algorithm_oid.dotted_string}"),
        )

    @classmethod
    def from_pem(cls, pem: bytes) -> Certificate:
        """Read one unencrypted private key and at least one certificate, the leaf first (RFC 7468).

        Where the key stands among them does not matter. Raises `CertificateError` for anything else.
        Whether key and leaf belong together is `check`'s to say.
        """
        if len(pem) > MAX_PEM:
            raise CertificateError(f"the PEM file has {len(pem)} bytes, more than {MAX_PEM}: not a key and its chain")
        keys: list[PrivateKey] = []
        certificates: list[x509.Certificate] = []
        for block in _BLOCK.finditer(pem):
            label = block[1]
            if label in _KEY_LABELS:
                keys.append(_load_key(block[0]))
            elif label == b"CERTIFICATE":
                certificates.append(_load_certificate(block[0], len(certificates) + 1))
            elif label not in _IGNORED_LABELS:
                raise CertificateError(f"a PEM block {label.decode()!r} has no place beside a key and its certificates")
        if len(keys) != 1:
            raise CertificateError(f"{len(keys)} private keys in the PEM file, exactly one is needed")
        if not certificates:
            raise CertificateError("no certificate in the PEM file")
        try:
            return cls(keys[0], certificates[0], tuple(certificates[1:]))
        except _UNREADABLE as error:  # of what is read here and not at the first handshake
            raise CertificateError(f"certificate 1 of the PEM file cannot be read: {error}") from error

    def to_pem(self) -> bytes:
        """The key (PKCS#8, unencrypted), the leaf, the intermediates: what `from_pem` reads."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + b"".join(c.public_bytes(Encoding.PEM) for c in (self.leaf, *self.intermediates))

    @property
    def key(self) -> PrivateKey:
        """The private key."""
        # Valid when it came in, and RSA's are dear to look at again.
        return cast(PrivateKey, load_der_private_key(self._key, None, unsafe_skip_rsa_key_validation=True))

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate for that key."""
        return x509.load_der_x509_certificate(self._leaf)

    @property
    def issuer(self) -> str:
        """The issuer's distinguished name (RFC 4514)."""
        return self.leaf.issuer.rfc4514_string()

    def covers(self, name: str) -> bool:
        """Whether the certificate proves ``name``: by itself, or by a wildcard for its first label (RFC 9525 6.3).

        ``name`` may itself be a wildcard, which only the same wildcard covers.
        """
        name = name.lower()
        return name in self.names or wildcard_of(name) in self.names

    def check(self, names: Iterable[str], now: datetime) -> None:
        """Raise `CertificateError`, naming all that is wrong, unless this may be served for ``names`` at ``now``."""
        problems = []
        if not self.owned:
            problems.append("its private key does not belong to it")
        uncovered = sorted(name for name in names if not self.covers(name))
        if uncovered:
            covered = ", ".join(sorted(self.names)) or "no name at all"
            problems.append(f"it does not cover {', '.join(uncovered)} (it covers {covered})")
        if now < self.not_before:
            problems.append(f"it is not valid before {self.not_before:%Y-%m-%d %H:%M:%S} UTC (is the clock right?)")
        if now >= self.not_after:
            problems.append(f"it expired at {self.not_after:%Y-%m-%d %H:%M:%S} UTC")
        if problems:
            raise CertificateError(f"the certificate {self.serial:x} from {self.issuer}: {'; '.join(problems)}")


def wildcard_of(name: str) -> str:
    """The wildcard that would cover ``name``: ``*.example.com`` for ``www.example.com``; empty if none can."""
    label, dot, parent = name.partition(".")
    return f"*.{parent}" if label and label != "*" and dot and parent else ""


def _load_key(block: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(block, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"the private key cannot be read: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateError(f"the private key is {type(key).__name__}; browsers accept RSA and ECDSA only")
    return key


def _load_certificate(block: bytes, position: int) -> x509.Certificate:
    try:
        return _read_whole(block) if position == 1 else _shared_certificate(block)
    except _UNREADABLE as error:
        raise CertificateError(f"certificate {position} of the PEM file cannot be read: {error}") from error


def _read_whole(block: bytes) -> x509.Certificate:
    """What cannot be read, by cryptography or by OpenSSL, is refused here, and not at the first handshake."""
    certificate = x509.load_pem_x509_certificate(block)
    _ = certificate.issuer
    X509.from_cryptography(certificate)
    return certificate


@lru_cache(_SHARED)
def _shared_certificate(block: bytes) -> x509.Certificate:
    """An intermediate, which few CAs have few of."""
    certificate = _read_whole(block)
    certificate.public_key()
    return certificate


def _names(leaf: x509.Certificate) -> frozenset[str]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    dns = (intern(name.lower()) for name in extension.get_values_for_type(x509.DNSName))
    return frozenset(dns).union(str(address) for address in extension.get_values_for_type(x509.IPAddress))
