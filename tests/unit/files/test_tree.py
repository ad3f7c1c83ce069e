"""Opening files below a root and nothing else."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.files import tree as tree_module
from appliance.files.tree import File, RootError, Tree


def content(file: File | None) -> bytes | None:
    """What is in it."""
    if file is None:
        return None
    data = os.read(file.descriptor, 100)
    os.close(file.descriptor)
    return data


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder with some of everything, below another one with secrets. No descriptor may be left open."""
    before = set(os.listdir("/proc/self/fd"))
    root = tmp_path / "root"
    (root / "css" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "css" / "b.css").write_text("b")
    (root / "css" / "deep" / "c.css").write_text("c")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "secret").write_text("secret")
    yield root
    assert set(os.listdir("/proc/self/fd")) == before


def look(root: Path, *names: str) -> bytes | None:
    """What one visit finds."""
    with Tree(root).visit() as visit:
        return content(visit.file(tuple(map(os.fsencode, names))))


def test_files(root: Path) -> None:
    """Files are found at every depth; one visit may look for several."""
    assert look(root, "a.txt") == b"a"
    assert look(root, "css", "deep", "c.css") == b"c"
    with Tree(root).visit() as visit:
        assert content(visit.file((b"css", b"b.css"))) == b"b"
        assert visit.file((b"css", b"b.css.gz")) is None
        assert visit.file((b"nothing", b"b.css")) is None
        assert content(visit.file((b"css", b"deep", b"c.css"))) == b"c"
        assert content(visit.file((b"a.txt",))) == b"a"


def test_what_is_told_of_a_file(root: Path) -> None:
    """Its size, and when it was written."""
    os.utime(root / "a.txt", ns=(0, 123_456_789))
    with Tree(root).visit() as visit:
        file = visit.file((b"a.txt",))
    assert file is not None
    assert (file.size, file.mtime_ns) == (1, 123_456_789)
    os.close(file.descriptor)


def test_what_is_no_file(root: Path) -> None:
    """Folders, files in files, FIFOs, sockets, names that are too long: nothing is opened, nothing waits."""
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(root / "socket"))
    for names in (("css",), ("a.txt", "b"), ("fifo",), ("socket",), ("x" * 300,), ("fifo", "x")):
        assert look(root, *names) is None


@pytest.mark.parametrize(
    ("link", "target", "found"),
    [
        ("l", "a.txt", b"a"),
        ("css/l", "../a.txt", b"a"),
        ("css/l", "./deep//c.css", b"c"),
        ("css/l", "deep/../../a.txt", b"a"),
        ("l", "css/deep/..//b.css", b"b"),
        ("l", "../secret", None),
        ("l", "css/../../secret", None),
        ("l", "../root/a.txt", None),
        ("l", "/etc/passwd", None),
        ("l", "/proc/self/environ", None),
        ("l", "a.txt/", None),
        ("l", "a.txt/../a.txt", None),
        ("l", "nothing", None),
        ("l", "l", None),
        ("l", "css", None),
    ],
)
def test_links_to_files(root: Path, link: str, target: str, found: bytes | None) -> None:
    """Links are followed as far as the root reaches."""
    (root / link).symlink_to(target)
    assert look(root, *link.split("/")) == found


@pytest.mark.parametrize(
    ("target", "found"),
    [("css", b"b"), ("./css/deep/..", b"b"), ("..", None), ("../root2", None), ("a.txt", None), ("/", None)],
)
def test_links_to_folders(root: Path, target: str, found: bytes | None) -> None:
    """So are those on the way."""
    (root / "l").symlink_to(target)
    assert look(root, "l", "b.css") == found
    assert look(root, "l", "secret") is None


def test_absolute_links(root: Path) -> None:
    """Absolute links count if they are written below the root; a name that only begins alike is another."""
    (root / "current").symlink_to(root / "css")
    (root / "other").symlink_to(root.parent / "root2")
    (root / "escaping").symlink_to(f"{root}/../secret")
    assert look(root, "current", "b.css") == b"b"
    assert look(root, "other", "secret") is None
    assert look(root, "escaping") is None


def test_long_chains_of_links(root: Path) -> None:
    """Eight links are followed, and no more."""
    (root / "l0").symlink_to("a.txt")
    for number in range(1, 9):
        (root / f"l{number}").symlink_to(f"l{number - 1}")
    assert look(root, "l7") == b"a"
    assert look(root, "l8") is None


def test_a_root_that_is_a_link(root: Path, tmp_path: Path) -> None:
    """The root itself may be a link, and be exchanged at any time."""
    current = tmp_path / "current"
    current.symlink_to(root)
    tree = Tree(current)
    with tree.visit() as visit:
        assert content(visit.file((b"a.txt",))) == b"a"
        current.unlink()
        current.symlink_to(tmp_path / "root2")
        assert visit.file((b"secret",)) is None
    with tree.visit() as visit:
        assert content(visit.file((b"secret",))) == b"secret"


def test_no_root(root: Path) -> None:
    """A root that is not there, or no folder, is the operator's concern."""
    for path in (root / "nothing", root / "a.txt"):
        with pytest.raises(RootError) as failed:
            Tree(path).visit()
        assert failed.value.filename == str(path)


def test_exchanged_while_looking(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exchanged after it was looked at is opened for what it is, without waiting, or not at all."""
    stat = os.stat

    def exchange(name: bytes, **options: object) -> os.stat_result:
        result = stat(name, **options)  # type: ignore[arg-type]
        if name == b"a.txt":
            (root / "a.txt").unlink()
            os.mkfifo(root / "a.txt")
        elif name == b"css":
            (root / "css").rename(root / "old")
            (root / "css").symlink_to("../root2")
        return result

    monkeypatch.setattr(tree_module.os, "stat", exchange)
    assert look(root, "a.txt") is None
    assert look(root, "css", "secret") is None


def test_what_cannot_be_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reasons that the operator should hear of are raised."""

    def refuse(*arguments: object, **options: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", arguments[0])

    monkeypatch.setattr(tree_module.os, "stat", refuse)
    with pytest.raises(PermissionError):
        look(root, "a.txt")
