"""acme.sh's folder."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.acme.jose import AccountKey
from appliance.errors import StoreError
from appliance.ops.imports.acmesh import read_acmesh
from tests.support.certificates import make_certificate
from tests.unit.ops.imports.test_certbot import key_pem


def certificate(folder: Path, name: str, conf: str | None) -> None:
    """One, as acme.sh keeps it."""
    path = folder / name
    path.mkdir(parents=True)
    plain = name.removesuffix("_ecc")
    made = make_certificate([plain])
    (path / "fullchain.cer").write_bytes(made.leaf.public_bytes(Encoding.PEM))
    (path / f"{plain}.key").write_bytes(key_pem(made))
    if conf is not None:
        (path / f"{plain}.conf").write_text(conf)


def test_certificates_accounts_and_hints(tmp_path: Path) -> None:
    """ECC ones too; reload commands are decoded and never run; folders of its own programs are left alone."""
    (tmp_path / "dnsapi").mkdir()
    reload = base64.b64encode(b"systemctl reload nginx").decode()
    conf = f"Le_Webroot='dns_cf'\nLe_ReloadCmd='__ACME_BASE64__START_{reload}__ACME_BASE64__END_'\n"
    certificate(tmp_path, "one.test_ecc", conf)
    certificate(tmp_path, "two.test", None)
    certificate(tmp_path, "three.test", "Le_ReloadCmd='__ACME_BASE64__START_!__ACME_BASE64__END_'\nnot a line\n")
    for directory, settings in (
        ("ca.test/dir", "ACCOUNT_URL='https://ca.test/acct/1'\nCA_EMAIL='a@b.test'\n"),
        ("other.test/v2/DV90", None),
    ):
        path = tmp_path / "ca" / directory
        path.mkdir(parents=True)
        (path / "account.key").write_bytes(AccountKey.generate().to_pem())
        if settings is not None:
            (path / "ca.conf").write_text(settings)
    found = read_acmesh(tmp_path)
    assert {name for each in found.certificates for name in each.certificate.names} == {
        "one.test",
        "two.test",
        "three.test",
    }
    one, other = found.accounts
    assert (one.directory, one.url, one.contact) == (
        "https://ca.test/dir",
        "https://ca.test/acct/1",
        ("mailto:a@b.test",),
    )
    assert (other.directory, other.url, other.contact) == ("https://other.test/v2/DV90", None, None)
    assert any("dns_cf" in hint for hint in found.hints)
    assert any("'systemctl reload nginx'" in hint for hint in found.hints)
    assert found.complaints == []


def test_what_is_broken_is_complained_of(tmp_path: Path) -> None:
    """Keys that are missing or no keys; folders too deep to be a CA's are left."""
    certificate(tmp_path, "one.test", None)
    (tmp_path / "one.test" / "one.test.key").unlink()
    (tmp_path / "ca" / "ca.test").mkdir(parents=True)
    (tmp_path / "ca" / "ca.test" / "account.key").write_text("no key")
    deep = tmp_path / "ca" / "1/2/3/4/5/6/7/8/9"
    deep.mkdir(parents=True)
    (deep / "account.key").write_text("")
    found = read_acmesh(tmp_path)
    assert len(found.complaints) == 2
    assert found.certificates == []
    assert found.hints == []


def test_something_else_is_not_taken_for_acme_shs(tmp_path: Path) -> None:
    """It says what is missing."""
    with pytest.raises(StoreError, match=r"is not acme\.sh's"):
        read_acmesh(tmp_path)
