"""Copies for other programs."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.ops.deploy import export as module
from appliance.ops.deploy.export import CHAIN, COMBINED, KEY, export
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate

OURS = grp.getgrgid(os.getgid()).gr_name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_key_chain_and_both(tmp_path: Path) -> None:
    """For the owner only; written once, and again when the certificate is another."""
    to, certificate = tmp_path / "tls", make_certificate(["one.test"])
    assert export(certificate, to, None)
    assert Certificate.from_pem((to / COMBINED).read_bytes()).leaf == certificate.leaf
    assert (to / KEY).read_bytes() + (to / CHAIN).read_bytes() == (to / COMBINED).read_bytes()
    assert {mode(to / name) for name in (KEY, CHAIN, COMBINED)} == {0o600}
    assert mode(to) == 0o700
    assert not export(certificate, to, None)
    assert export(make_certificate(["one.test"]), to, None)


def test_for_a_group(tmp_path: Path) -> None:
    """Readable for it; wrong modes are corrected; a folder that is there stays as it is."""
    certificate = make_certificate(["one.test"])
    assert export(certificate, tmp_path / "new", OURS)
    assert mode(tmp_path / "new") == 0o750
    assert mode(tmp_path / "new" / KEY) == 0o640
    (tmp_path / "there").mkdir(mode=0o711)
    assert export(certificate, tmp_path / "there", OURS)
    assert mode(tmp_path / "there") == 0o711
    assert not module._is_right(tmp_path / "there" / "gone", None)
    (tmp_path / "there" / KEY).chmod(0o600)
    assert export(certificate, tmp_path / "there", OURS)
    assert mode(tmp_path / "there" / KEY) == 0o640


def test_the_way_there(tmp_path: Path) -> None:
    """Every folder that is made on the way lets the group through; those that were there stay as they are."""
    tmp_path.chmod(0o711)
    to = tmp_path / "mail" / "tls" / "one.test"
    assert export(make_certificate(["one.test"]), to, OURS)
    assert {mode(each) for each in (to, to.parent, to.parent.parent)} == {0o750}
    assert mode(tmp_path) == 0o711
    private = tmp_path / "private"
    assert export(make_certificate(["one.test"]), private / "one.test", None)
    assert mode(private) == 0o700


def test_what_is_in_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that is none, a group that is not ours, a file in the folder's place."""
    certificate = make_certificate(["one.test"])
    with pytest.raises(StoreError, match="there is no group nobody-knows"):
        export(certificate, tmp_path, "nobody-knows")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot create the folder"):
        export(certificate, tmp_path / "file", None)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module.os, "chown", refuse)
    with pytest.raises(StoreError, match=f"to the group {OURS}: Operation not permitted; make the user"):
        export(certificate, tmp_path / "new", OURS)
