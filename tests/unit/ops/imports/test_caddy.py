"""Caddy's storage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.acme.jose import AccountKey
from appliance.errors import StoreError
from appliance.ops.imports.caddy import read_caddy
from tests.support.certificates import make_certificate
from tests.unit.ops.imports.test_certbot import key_pem

ISSUER = "ca.test-dir"


def site(folder: Path, issuer: str, name: str, details: object) -> None:
    """A certificate with what Caddy writes beside it."""
    path = folder / "certificates" / issuer / name
    path.mkdir(parents=True)
    certificate = make_certificate([name.replace("wildcard_", "*")])
    (path / f"{name}.crt").write_bytes(certificate.leaf.public_bytes(Encoding.PEM))
    (path / f"{name}.key").write_bytes(key_pem(certificate))
    (path / f"{name}.json").write_text(json.dumps(details))


def user(folder: Path, issuer: str, details: object) -> None:
    """An account."""
    path = folder / "acme" / issuer / "users" / "a@b.test"
    path.mkdir(parents=True)
    (path / "a.key").write_bytes(AccountKey.generate().to_pem())
    (path / "a.json").write_text(json.dumps(details))


def test_certificates_and_accounts(tmp_path: Path) -> None:
    """Wildcards too; the CA's URL comes from the certificates, or is a well-known one."""
    site(tmp_path, ISSUER, "one.test", {"issuer_data": {"ca": "https://ca.test/dir"}})
    site(tmp_path, ISSUER, "wildcard_.one.test", [])
    site(tmp_path, "local", "inside.test", {})
    user(tmp_path, ISSUER, {"location": "https://ca.test/acct/1", "contact": ["mailto:a@b.test"]})
    user(tmp_path, "acme-v02.api.letsencrypt.org-directory", {})
    found = read_caddy(tmp_path)
    assert {name for each in found.certificates for name in each.certificate.names} == {"one.test", "*.one.test"}
    le, own = sorted(found.accounts, key=lambda each: each.directory)
    assert (own.directory, own.url, own.contact) == (
        "https://ca.test/dir",
        "https://ca.test/acct/1",
        ("mailto:a@b.test",),
    )
    assert (le.directory, le.url, le.contact) == ("https://acme-v02.api.letsencrypt.org/directory", None, None)
    assert found.complaints == []
    assert found.hints


def test_what_is_broken_is_complained_of(tmp_path: Path) -> None:
    """A key without its certificate, JSON that is none, an account of a CA that nothing tells of."""
    site(tmp_path, ISSUER, "one.test", {"issuer_data": 7})
    (tmp_path / "certificates" / ISSUER / "one.test" / "one.test.crt").unlink()
    user(tmp_path, ISSUER, {"location": "https://elsewhere.test/1"})
    user(tmp_path, "odd.test-dir", {"location": "http://["})
    user(tmp_path, "acme.zerossl.com-v2-dv90", {})
    (tmp_path / "acme" / "acme.zerossl.com-v2-dv90" / "users" / "a@b.test" / "a.json").write_text("{")
    site(tmp_path, "other", "two.test", {"issuer_data": {}})
    found = read_caddy(tmp_path)
    assert len(found.complaints) == 4
    assert found.accounts == []


def test_the_cas_url_is_guessed_from_the_accounts(tmp_path: Path) -> None:
    """Where no certificate tells it, as with Debian's Caddy."""
    user(tmp_path, "ca.test-8443-acme-dir", {"location": "https://ca.test:8443/acct/1"})
    assert read_caddy(tmp_path).accounts[0].directory == "https://ca.test:8443/acme/dir"


def test_something_else_is_not_taken_for_caddys(tmp_path: Path) -> None:
    """It says what is missing."""
    with pytest.raises(StoreError, match="is not Caddy's storage"):
        read_caddy(tmp_path)
    user(tmp_path, ISSUER, {})
    assert read_caddy(tmp_path).hints == []
