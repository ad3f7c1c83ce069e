"""Certbot's folder, as it should be and as it may have become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from josepy.jwk import JWKEC, JWKRSA

from appliance.errors import StoreError
from appliance.ops.imports.certbot import read_certbot
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate, make_key

CA = "ca.test/directory"


def key_pem(certificate: Certificate) -> bytes:
    """The private key alone."""
    return certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def lineage(folder: Path, name: str, certificate: Certificate, number: int = 1, *, live: bool = True) -> None:
    """A generation in the archive, and the links to it."""
    archive = folder / "archive" / name
    archive.mkdir(parents=True, exist_ok=True)
    chain = certificate.leaf.public_bytes(Encoding.PEM)
    (archive / f"fullchain{number}.pem").write_bytes(chain)
    (archive / f"privkey{number}.pem").write_bytes(key_pem(certificate))
    if live:
        (folder / "live" / name).mkdir(parents=True)
        for part in ("fullchain", "privkey"):
            (folder / "live" / name / f"{part}.pem").symlink_to(f"../../archive/{name}/{part}{number}.pem")


def account(folder: Path, name: str, kind: str = "rsa", **registration: object) -> Path:
    """An account's files."""
    path = folder / "accounts" / CA / name
    path.mkdir(parents=True)
    key = make_key(kind)
    jwk = JWKRSA(key=key) if kind == "rsa" else JWKEC(key=key)
    (path / "private_key.json").write_text(jwk.json_dumps())
    (path / "regr.json").write_text(json.dumps({"body": {}, "uri": f"https://ca.test/acct/{name}", **registration}))
    (path / "meta.json").write_text(json.dumps({"creation_dt": "2026-01-01T00:00:00Z"}))
    return path


def test_what_is_live_is_found_with_its_account(tmp_path: Path) -> None:
    """Through the links; the CA's URL is the account folder's name."""
    certificate = make_certificate(["one.test"])
    lineage(tmp_path, "one.test", certificate)
    account(tmp_path, "abc", "p256", body={"contact": ["mailto:a@b.test"]})
    found = read_certbot(tmp_path)
    assert [each.certificate.leaf for each in found.certificates] == [certificate.leaf]
    (one,) = found.accounts
    assert (one.directory, one.url) == (f"https://{CA}", "https://ca.test/acct/abc")
    assert one.contact == ("mailto:a@b.test",)
    assert one.created == "2026-01-01T00:00:00Z"
    assert found.complaints == []
    assert "certbot.timer" in found.hints[-1]


def test_rsa_account_keys_and_contacts_that_certbot_did_not_keep(tmp_path: Path) -> None:
    """As Debian's certbot writes them."""
    path = account(tmp_path, "abc")
    (path / "meta.json").unlink()
    (one,) = read_certbot(tmp_path).accounts
    assert one.key.public_jwk["kty"] == "RSA"
    assert (one.contact, one.created) == (None, "")
    account(tmp_path, "def", uri=7)
    assert read_certbot(tmp_path).accounts[1].url is None


def test_broken_links_lead_to_the_newest_whole_generation(tmp_path: Path) -> None:
    """A tree that was copied without its links, or was interrupted in a renewal."""
    older, newer = make_certificate(["one.test"]), make_certificate(["one.test"])
    lineage(tmp_path, "one.test", older, 9, live=False)
    lineage(tmp_path, "one.test", newer, 10, live=False)
    (tmp_path / "archive" / "one.test" / "fullchain11.pem").write_bytes(b"x")
    found = read_certbot(tmp_path)
    assert [each.certificate.leaf for each in found.certificates] == [newer.leaf]
    (tmp_path / "live" / "two.test").mkdir(parents=True)
    assert "two.test" in read_certbot(tmp_path).complaints[0]


def test_what_certbot_was_told_is_passed_on_as_hints(tmp_path: Path) -> None:
    """DNS plugins and hooks have counterparts; plugins for servers have none, and need none."""
    (tmp_path / "live").mkdir()
    (tmp_path / "renewal").mkdir()
    (tmp_path / "renewal" / "one.test.conf").write_text(
        "# comment\nversion = 2.1.0\n[renewalparams]\nauthenticator = dns-cloudflare\nrenew_hook = systemctl reload x\n"
        "pre_hook = None\n"
    )
    (tmp_path / "renewal" / "two.test.conf").write_text("authenticator = nginx\n")
    (tmp_path / "renewal" / "big.conf").write_bytes(b"#" * (2 << 20))
    found = read_certbot(tmp_path)
    assert len(found.hints) == 2
    assert "dns-cloudflare" in found.hints[0]
    assert "'systemctl reload x' as renew_hook" in found.hints[1]
    assert "larger than" in found.complaints[0]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("private_key.json", "{"),
        ("private_key.json", '{"kty": "oct", "k": "AAAA"}'),
        ("private_key.json", "é"),
        ("private_key.json", '{"kty": "RSA"}'),
        ("private_key.json", '{"kty": ["RSA"]}'),
        ("private_key.json", '{"kty": "RSA", "n": 1, "e": 2}'),
        pytest.param("private_key.json", "[" * 100_000, id="deep"),
        ("regr.json", "[]"),
        ("regr.json", "{"),
        ("meta.json", "{"),
    ],
)
def test_broken_accounts_are_complained_of(tmp_path: Path, file: str, content: str) -> None:
    """The file is named, and the others are read."""
    (account(tmp_path, "abc") / file).write_text(content)
    account(tmp_path, "def")
    found = read_certbot(tmp_path)
    assert [each.source.name for each in found.accounts] == ["def"]
    assert file in found.complaints[0]


def test_weak_account_keys_are_refused(tmp_path: Path) -> None:
    """No CA takes an RSA key of 1024 bits."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    path = account(tmp_path, "abc")
    weak = rsa.generate_private_key(65537, 1024)
    (path / "private_key.json").write_text(JWKRSA(key=weak).json_dumps())
    assert "at least 2048 bits" in read_certbot(tmp_path).complaints[0]


def test_links_from_old_directories_are_not_followed_for_ever(tmp_path: Path) -> None:
    """acme-v01's folder is a link to acme-v02's; a loop of links ends."""
    account(tmp_path, "abc")
    (tmp_path / "accounts" / "old").symlink_to(tmp_path / "accounts")
    assert len(read_certbot(tmp_path).accounts) == 1


def test_something_else_is_not_taken_for_certbots(tmp_path: Path) -> None:
    """Nor a folder that cannot be listed."""
    with pytest.raises(StoreError, match="is not certbot's"):
        read_certbot(tmp_path)
