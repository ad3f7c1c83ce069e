"""Reading other programs' folders, with bounds."""

from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.ops.imports.found import Found, files, folders, is_there, read


def test_files_folders_and_what_is_missing(tmp_path: Path) -> None:
    """Sorted; no folder has nothing in it; a missing file is an error, and so is a PEM without a key."""
    (tmp_path / "b.pem").write_text("x")
    (tmp_path / "a.pem").write_text("x")
    (tmp_path / "c").mkdir()
    assert [path.name for path in files(tmp_path, ".pem")] == ["a.pem", "b.pem"]
    assert [path.name for path in folders(tmp_path)] == ["c"]
    assert list(folders(tmp_path / "none")) == list(folders(tmp_path / "a.pem")) == []
    with pytest.raises(StoreError, match="is missing"):
        read(tmp_path / "none")
    found = Found()
    found.add_certificate(tmp_path / "a.pem", b"x")
    assert "0 private keys" in found.complaints[0]


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    """Is an error with what to do."""
    endless = tmp_path / "loop"
    endless.symlink_to(endless)
    with pytest.raises(StoreError, match="run this as root"):
        list(folders(endless))
    with pytest.raises(StoreError, match="File name too long; run this as root"):
        is_there(tmp_path / ("x" * 300))
