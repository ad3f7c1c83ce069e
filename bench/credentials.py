"""One ECDSA P-256 certificate for all contenders, signed by an authority made for the run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "bench.example"
"""The only name in the certificate; every client sends it as SNI and as ``Host``."""

LIFE = timedelta(days=60)
"""Long enough that no contender thinks of renewing it."""


@frozen
class Credentials:
    """Files of PEM: what the clients trust, and what the proxies serve."""

    authority: Path
    """The root certificate."""
    chain: Path
    """The leaf, alone: the root signed it."""
    key: Path
    """The leaf's key, PKCS#8."""
    bundle: Path
    """Key and leaf in one file, as HAProxy and the appliance's store want it."""
    issuer: Path
    """The root and its key."""


def make_credentials(folder: Path) -> Credentials:
    """Write a fresh authority and leaf into ``folder``; the keys are readable by the owner only."""
    root_key, root = _certificate("Benchmark authority", None, None)
    root_pem = _key_pem(root_key) + root.public_bytes(serialization.Encoding.PEM)
    key, leaf = _certificate(HOST, root_key, root)
    key_pem = _key_pem(key)
    leaf_pem = leaf.public_bytes(serialization.Encoding.PEM)
    return Credentials(
        authority=_write(folder / "authority.pem", root.public_bytes(serialization.Encoding.PEM)),
        chain=_write(folder / "chain.pem", leaf_pem),
        key=_write(folder / "key.pem", key_pem),
        bundle=_write(folder / "bundle.pem", key_pem + leaf_pem),
        issuer=_write(folder / "issuer.pem", root_pem),
    )


class Issuer:
    """The run's authority, for more certificates."""

    def __init__(self, credentials: Credentials) -> None:
        pem = credentials.issuer.read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._root = x509.load_pem_x509_certificate(pem)

    def issue(self, *names: str) -> bytes:
        """A key of its own and a certificate, PEM."""
        key, leaf = _certificate(names[0], self._key, self._root, names)
        return _key_pem(key) + leaf.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate(
    name: str,
    issuer_key: ec.EllipticCurvePrivateKey | None,
    issuer: x509.Certificate | None,
    names: tuple[str, ...] = (),
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Make a root when there is no issuer, else a leaf for ``name``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        alternatives = [x509.DNSName(each) for each in names or (name,)]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return key, builder.sign(issuer_key or key, hashes.SHA256())


def _write(path: Path, pem: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return path
