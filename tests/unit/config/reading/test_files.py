"""Keys about files that are served."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import Route, Site
from appliance.config.file import load
from appliance.config.files import Root
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


def site(folder: Path, keys: str) -> Site:
    """A site of these keys."""
    file = folder / "appliance.toml"
    file.write_text(f'acme = {{agree_tos = true}}\n[[site]]\nnames = ["a.example"]\n{keys}\n')
    (found,) = load(file).sites
    return found


def wrong(folder: Path, keys: str) -> list[str]:
    """What is wrong with a site of these keys."""
    with pytest.raises(ConfigurationError) as refused:
        site(folder, keys)
    return [f"{mistake.path}: {mistake.message}" for mistake in refused.value.mistakes]


def test_root(tmp_path: Path) -> None:
    """A folder for a route or for a site, in short or in full."""
    assert site(tmp_path, 'root = "."').routes == (Route("/", root=Root(tmp_path)),)
    found = site(
        tmp_path,
        """
        upstream = "http://127.0.0.1:1"
        [[site.route]]
        path = "/static"
        root = { folder = ".", cache_control = "public, max-age=60", fallback = "app/100%.html" }
        """,
    )
    assert found.routes[0] == Route("/static", root=Root(tmp_path, "public, max-age=60", "app/100%.html"))
    assert found.routes[0].answer == str(tmp_path)


def test_compress(tmp_path: Path) -> None:
    """Off unless it is said; a route may differ from its site."""
    assert site(tmp_path, 'root = "."').rules.compress is None
    found = site(tmp_path, 'compress = true\n[[site.route]]\npath = "/x"\nroot = "."\ncompress = false')
    assert (found.rules.compress, found.routes[0].rules.compress) == (True, False)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('root = "nothing"', "root: must be a folder: {}/nothing is not there"),
        ('root = "appliance.toml"', "root: must be a folder: {}/appliance.toml is a file"),
        ("root = 5", "root: must be"),
        ("root = {}", "root.folder: is missing: where the files are"),
        ('root = {folder = ".", cache_control = "a\\nb"}', "root.cache_control: must"),
        ('root = {folder = ".", cache_control = "é"}', "root.cache_control: must be the value of a Cache-Control"),
        ('root = {folder = ".", fallback = "../x"}', "root.fallback: must be the path of a file in the folder"),
        ('root = {folder = ".", fallback = "a/"}', "root.fallback: must be the path of a file in the folder"),
        ('root = {folder = ".", fallback = ".env"}', "root.fallback: must be the path of a file in the folder"),
        (
            'root = "."\nupstream = "http://127.0.0.1:1"',
            "root: is a second answer to the same requests beside upstream",
        ),
        ('root = "."\ntry_for = 5', "try_for: is about an upstream, and what answers here is root"),
        ('root = "."\ncompress = "gzip"', "compress: must be"),
    ],
)
def test_roots_that_cannot_be(tmp_path: Path, keys: str, message: str) -> None:
    """Folders that are not there, paths that lead out of them, and what contradicts itself."""
    (found,) = wrong(tmp_path, keys)
    assert found.startswith("site[0]." + message.format(tmp_path))
