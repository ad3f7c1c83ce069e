"""Certificates that strict verifiers take, and none for names they are not for."""

import ipaddress
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from appliance.ca.authority import NAME, Authority, ari_identifier
from appliance.ca.model import Identifier
from appliance.ca.policy import TEST_SUFFIXES
from appliance.errors import CertificateError
from tests.support.demo_ca import AUTHORITY, START

NAMES = (Identifier("dns", "one.test"), Identifier("dns", "*.one.test"), Identifier("ip", "127.0.0.1"))
HOUR = timedelta(hours=1)


def sign(authority=AUTHORITY, names=NAMES, key=None, **more):
    public = (key or ec.generate_private_key(ec.SECP256R1())).public_key()
    return authority.sign(public, names, START, more.pop("lifetime", HOUR), **more)


def verify(authority, leaf, name="one.test", at=START, alternate=False):
    """By cryptography's verifier, which follows the CA/Browser Forum's profile."""
    root = authority.other_root if alternate else authority.root
    chain = x509.load_pem_x509_certificates(authority.chains(leaf)[alternate])
    subject = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    builder = PolicyBuilder().store(Store([root])).time(at.replace(tzinfo=None))
    return builder.build_server_verifier(subject).verify(chain[0], chain[1:])


@pytest.mark.parametrize("alternate", [False, True])
@pytest.mark.parametrize("name", ["one.test", "sub.one.test"])
def test_both_chains_verify(name, alternate):
    """To either root, for the name and the wildcard."""
    authority = Authority.create(START, None)
    assert len(verify(authority, sign(authority), name, alternate=alternate)) == 3


@pytest.mark.parametrize("alternate", [False, True])
@pytest.mark.parametrize("suffixes", [None, TEST_SUFFIXES])
@pytest.mark.parametrize("name", ["one.test", "sub.one.test", "127.0.0.1"])
def test_openssl_verifies_strictly(tmp_path, name, suffixes, alternate):
    """OpenSSL's -x509_strict, for every kind of name, with and without name constraints."""
    authority = Authority.create(START, suffixes)
    assert openssl(tmp_path, authority, sign(authority), name, alternate) == 0


@pytest.mark.parametrize("name", ["one.com", "notlocalhost", "10.0.0.1"])
def test_constraints_keep_a_trusted_root_harmless(tmp_path, name):
    """A leaf for a production name, signed all the same, is not accepted."""
    kind = "ip" if name[0].isdigit() else "dns"
    assert openssl(tmp_path, AUTHORITY, sign(names=(Identifier(kind, name),)), name) != 0
    free = Authority.create(START, None)
    assert openssl(tmp_path, free, sign(free, names=(Identifier(kind, name),)), name) == 0


def openssl(folder, authority, leaf, name, alternate=False):
    """What ``openssl verify`` exits with."""
    (folder / "root.pem").write_bytes(authority.other_root_pem if alternate else authority.root_pem)
    (folder / "chain.pem").write_bytes(authority.chains(leaf)[alternate])
    check = "-verify_ip" if name[0].isdigit() else "-verify_hostname"
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(START.timestamp())), check, name]
    command += ["-CAfile", "root.pem", "-untrusted", "chain.pem", "chain.pem"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode


def test_dates():
    """To the second, however short: valid from the given moment to its end, not after."""
    authority = Authority.create(START, None)
    leaf = sign(authority, lifetime=timedelta(seconds=3))
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (START, START + timedelta(seconds=3))
    verify(authority, leaf, at=START + timedelta(seconds=3))
    with pytest.raises(VerificationError):
        verify(authority, leaf, at=START + timedelta(seconds=4))


def test_subject_and_names():
    """Without common name the subject is empty and the names are critical; with one neither."""
    bare, named = sign(), sign(common_name="one.test")
    assert bare.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert not list(bare.subject)
    assert not named.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert named.subject.rfc4514_string() == "CN=one.test"
    assert NAME in bare.issuer.rfc4514_string()


def test_key_usage_by_key_type():
    """RSA keys may encipher keys, elliptic ones cannot."""
    rsa_leaf = sign(key=rsa.generate_private_key(65537, 2048))
    assert rsa_leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    assert not sign().extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment


def test_renewal_identifier():
    """RFC 9773 section 4.1: the serial as in DER, with a zero before a high bit."""
    issuer = AUTHORITY.intermediate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    for _ in range(20):
        leaf = sign()
        key, _, serial = ari_identifier(leaf).partition(".")
        assert decode(key) == issuer
        assert int.from_bytes(decode(serial), "big", signed=True) == leaf.serial_number


def decode(text):
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_kept_and_read_again():
    """PEM and back is the same authority; its keys do not show in its representation."""
    again = Authority.from_pem(AUTHORITY.to_pem())
    assert again.to_pem() == AUTHORITY.to_pem()
    assert again.constrained_to(TEST_SUFFIXES)
    assert not again.constrained_to(("test",))
    assert not again.constrained_to(None)
    assert Authority.create(START, None).constrained_to(None)
    assert "PrivateKey" not in repr(again)
    assert again.expires == START - HOUR + timedelta(days=1825)


def test_damage_is_noticed():
    """Something missing, cut short, of another key, or from two authorities: CertificateError."""
    pem, other = AUTHORITY.to_pem(), Authority.create(START, TEST_SUFFIXES).to_pem()
    cut = pem.index(b"-----BEGIN PRIVATE")
    for damaged in (b"", b"nonsense", pem[:-40], pem[:cut] + other[other.index(b"-----BEGIN PRIVATE") :], pem + other):
        with pytest.raises(CertificateError, match="are damaged"):
            Authority.from_pem(damaged)
