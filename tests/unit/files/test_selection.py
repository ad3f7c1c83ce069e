"""Which file answers a request, in which coding."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import RequestError
from appliance.files import tree
from appliance.files.selection import Selection, Slash
from appliance.http.message import RequestHead

BROWSER = b"text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Some files, one of them in all codings. No descriptor may be left open."""
    before = set(os.listdir("/proc/self/fd"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "empty").mkdir()
    for name in (
        "index.html",
        "docs/index.html",
        "a.js",
        "a.js.br",
        "a.js.gz",
        "a.js.zst",
        "b.js",
        "p.png",
        "p.png.gz",
    ):
        (tmp_path / name).write_text(name)
    yield tmp_path
    assert set(os.listdir("/proc/self/fd")) == before


def select(
    selection: Selection, target: bytes, accept: bytes = b"*/*", encoding: bytes = b""
) -> tuple[str, bytes, bytes]:
    """What is in the file that is chosen, its coding, what it varies by."""
    request = RequestHead(b"GET", target, 1)
    request.fields = [(b"Accept", accept), (b"Accept-Encoding", encoding)]
    chosen = selection.select(request)
    data = os.read(chosen.file.descriptor, 100)
    os.close(chosen.file.descriptor)
    return data.decode(), chosen.coding, chosen.vary


def test_plain(root: Path) -> None:
    """A file by its path; a folder by its index."""
    selection = Selection(root, b"/")
    assert select(selection, b"/b.js?v=1") == ("b.js", b"", b"")
    assert select(selection, b"/") == ("index.html", b"", b"")
    assert select(selection, b"/docs/") == ("docs/index.html", b"", b"")


def test_prefix(root: Path) -> None:
    """The root stands for the route's prefix."""
    selection = Selection(root, b"/static")
    assert select(selection, b"/static/b.js") == ("b.js", b"", b"")
    assert select(selection, b"/static/") == ("index.html", b"", b"")
    with pytest.raises(Slash):
        select(selection, b"/static?x")


def test_slash(root: Path) -> None:
    """A folder with an index is known by its slash at the end; without one nothing tells that it is there."""
    with pytest.raises(Slash):
        select(Selection(root, b"/"), b"/docs")
    for target in (b"/empty", b"/empty/", b"/b.js/", b"/nothing", b"/" + b"a/" * 100, b"/.hidden"):
        with pytest.raises(RequestError) as refused:
            select(Selection(root, b"/"), target)
        assert refused.value.status == 404


@pytest.mark.parametrize(
    ("encoding", "coding", "name"),
    [
        (b"gzip, deflate, br, zstd", b"br", "a.js.br"),
        (b"gzip, zstd", b"zstd", "a.js.zst"),
        (b"gzip", b"gzip", "a.js.gz"),
        (b"br;q=0.1, gzip", b"gzip", "a.js.gz"),
        (b"", b"", "a.js"),
        (b"identity", b"", "a.js"),
    ],
)
def test_precompressed(root: Path, encoding: bytes, coding: bytes, name: str) -> None:
    """The best of the files beside it; caches are told in any case."""
    assert select(Selection(root, b"/"), b"/a.js", encoding=encoding) == (name, coding, b"Accept-Encoding")


def test_not_precompressed(root: Path) -> None:
    """What is compressed by nature is sent as it is, and so is what was compressed and asked for by that name."""
    selection = Selection(root, b"/")
    assert select(selection, b"/p.png", encoding=b"gzip") == ("p.png", b"", b"")
    assert select(selection, b"/a.js.gz", encoding=b"gzip") == ("a.js.gz", b"", b"")
    (root / "a.js").unlink()
    with pytest.raises(RequestError):
        select(selection, b"/a.js", encoding=b"gzip")


def test_fallback(root: Path) -> None:
    """An application of one page gets the paths that are no files, when a page is wanted."""
    selection = Selection(root, b"/app", "docs/index.html")
    assert select(selection, b"/app/users/7", BROWSER) == ("docs/index.html", b"", b"Accept")
    assert select(selection, b"/app/b.js", BROWSER) == ("b.js", b"", b"")
    with pytest.raises(RequestError):
        select(selection, b"/app/missing.js")
    with pytest.raises(RequestError):
        select(selection, b"/app/../x", BROWSER)
    (root / "docs" / "index.html.gz").write_text("packed")
    assert select(selection, b"/app/x", BROWSER, b"gzip") == ("packed", b"gzip", b"Accept, Accept-Encoding")
    (root / "docs" / "index.html").unlink()
    with pytest.raises(RequestError):
        select(selection, b"/app/users/7", BROWSER)


def test_a_sibling_that_cannot_be_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left open."""
    opened = tree._open_file

    def refuse(name: bytes, folder: int) -> tree.File:
        if name == b"a.js.gz":
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(name, folder)

    monkeypatch.setattr(tree, "_open_file", refuse)
    with pytest.raises(OSError, match="Too many"):
        select(Selection(root, b"/"), b"/a.js")
