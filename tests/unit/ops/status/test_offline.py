"""Status of a service that does not run."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.acme.state import RenewalState
from appliance.config import Site
from appliance.errors import StoreError
from appliance.ops.status import offline
from tests.support.certificates import make_certificate
from tests.support.reports import NOW

CERTIFICATE = make_certificate(
    ["one.test", "www.one.test"], not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=60)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "certificates").mkdir()
    (tmp_path / "renewal").mkdir()
    (tmp_path / "certificates" / "one.test.pem").write_bytes(CERTIFICATE.to_pem())
    (tmp_path / "certificates" / "bad.test.pem").write_bytes(b"nothing")
    (tmp_path / "certificates" / ".x.tmp").write_bytes(b"")
    state = RenewalState(names=("two.test", "www.two.test"), failures=1, problem="it failed")
    (tmp_path / "renewal" / "two.test.json").write_bytes(state.to_json())
    (tmp_path / "renewal" / "bad.test.json").write_bytes(b"{")
    return tmp_path


def test_what_the_next_start_would_begin_with(folder: Path) -> None:
    """Certificates and states of the configured sites; nothing is changed on disk."""
    before = sorted(path.name for path in folder.rglob("*"))
    stored = offline.read(folder)
    sites = (Site(("one.test", "www.one.test"), ()), Site(("two.test",), ()))
    one, two = offline.reports(stored, sites, NOW)
    assert one.serving is not None
    assert one.serving.leaf == CERTIFICATE.leaf
    assert two.serving is None
    assert two.state.problem == "it failed"
    assert two.next_step.at >= NOW
    assert len(stored.complaints) == 2
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_sites_are_guessed_where_no_configuration_is_named(folder: Path) -> None:
    """By what is stored, certificates as well as failures."""
    sites = offline.sites_by_folder(offline.read(folder))
    assert [site.names for site in sites] == [("one.test", "www.one.test"), ("two.test", "www.two.test")]


def test_no_folder_is_an_empty_one(tmp_path: Path) -> None:
    """As before the first start."""
    assert offline.read(tmp_path / "none") == offline.Stored({}, {}, ())


def test_a_folder_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "certificates").write_text("")
    with pytest.raises(StoreError, match="run this as root"):
        offline.read(tmp_path)
    assert os.listdir(tmp_path) == ["certificates"]
