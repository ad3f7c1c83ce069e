"""Keys about files that are served."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.configfile import load
from appliance.errors import ConfigurationError

REST = '[acme]\nagree_tos = true\n[[site]]\nnames = ["a.example"]\nupstream = "http://127.0.0.1:1"\n'


def written(folder: Path, keys: str) -> Path:
    """A configuration that begins with these keys."""
    file = folder / "appliance.toml"
    file.write_text(keys + "\n" + REST)
    return file


def mistake(folder: Path, keys: str) -> str:
    """The one thing that is wrong with it."""
    with pytest.raises(ConfigurationError) as refused:
        load(written(folder, keys))
    (mistake,) = refused.value.mistakes
    return f"{mistake.path}: {mistake.message}"


def test_error_pages(tmp_path: Path) -> None:
    """Templates are read with the configuration, by name; other files are not looked at."""
    folder = tmp_path / "errors"
    folder.mkdir()
    for name in ("502.html", "5xx.json", "error.html"):
        (folder / name).write_text(f"this is {name}")
    for name in ("200.html", "502.html~", "logo.png"):
        (folder / name).write_bytes(b"\xff")
    assert load(written(tmp_path, 'error_pages = "errors"')).error_pages == {
        "502.html": "this is 502.html",
        "5xx.json": "this is 5xx.json",
        "error.html": "this is error.html",
    }
    assert load(written(tmp_path, "")).error_pages == {}


def test_error_pages_that_cannot_be_used(tmp_path: Path) -> None:
    """What is wrong with a folder, or with a file in it."""
    keys = 'error_pages = "errors"'
    folder = tmp_path / "errors"
    assert mistake(tmp_path, keys).endswith("errors cannot be read: No such file or directory")
    folder.mkdir()
    assert mistake(tmp_path, keys) == (
        f"error_pages: must be a folder of pages such as 502.html, 5xx.html or error.json: {folder} has none"
    )
    page = folder / "502.html"
    page.write_bytes(b"\xff")
    assert mistake(tmp_path, keys) == f"error_pages: must be a folder of pages in UTF-8: {page} is not"
    page.write_bytes(b"x" * (64 * 1024 + 1))
    assert mistake(tmp_path, keys).endswith(f"{page} is larger than 65536 bytes")
    page.unlink()
    page.mkdir()
    assert mistake(tmp_path, keys).endswith(f"{page} cannot be read: Is a directory")
