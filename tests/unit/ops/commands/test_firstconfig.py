"""A first configuration, from answers to a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config.file import load
from appliance.errors import ConfigurationError, StoreError
from appliance.ops.commands.firstconfig import Answers, text, upstream, write

ANSWERS = Answers(("example.com", "www.example.com"), "http://127.0.0.1:8000", "a@example.com")


def test_three_answers_are_enough(tmp_path: Path) -> None:
    """The file says what was answered, and nothing but defaults else."""
    path = tmp_path / "new" / "appliance.toml"
    assert write(path, text(ANSWERS), False) is None
    found = load(path)
    assert found.sites[0].names == ANSWERS.names
    assert (found.acme.email, found.acme.agree_tos) == ("a@example.com", True)
    assert str(found.sites[0].routes[0].upstreams[0]) == ANSWERS.upstream
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_everything_else(tmp_path: Path) -> None:
    """What options can say; names as people write them."""
    answers = Answers(
        ("zürich.example",),
        "unix:/run/app.sock",
        "a@b.example",
        "https://ca.example/dir",
        None,
        "/s",
        ("tcp:8080",),
        (),
    )
    write(tmp_path / "c.toml", text(answers), True)
    found = load(tmp_path / "c.toml")
    assert found.sites[0].names == ("xn--zrich-kva.example",)
    assert (found.listen.http, found.listen.https) == (("tcp:8080",), ("tcp:443",))
    assert (str(found.state_dir), found.acme.directory) == ("/s", "https://ca.example/dir")
    (tmp_path / "ca.pem").write_text("x")
    with pytest.raises(ConfigurationError):
        write(tmp_path / "d.toml", text(Answers(("a",), "x", "a@b.example", None, str(tmp_path / "none"))), False)
    assert 'https = ["tcp:1"]' in text(Answers(("a",), "x", "a@b.example", https=("tcp:1",)))


def test_what_is_there_stays(tmp_path: Path) -> None:
    """Unless it is to be replaced; then it is kept beside."""
    path = tmp_path / "appliance.toml"
    path.write_text("old")
    with pytest.raises(StoreError, match="--force replaces it"):
        write(path, text(ANSWERS), False)
    assert path.read_text() == "old"
    kept = write(path, text(ANSWERS), True)
    assert kept is not None
    assert kept.read_text() == "old"
    assert len(load(path).sites) == 1
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
def test_the_service_can_read_it(tmp_path: Path) -> None:
    """Whatever the umask of who runs this: it is another user. What was there before is as it was."""
    path = tmp_path / "etc" / "appliance" / "appliance.toml"
    write(path, text(ANSWERS), False)
    assert [each.stat().st_mode & 0o7777 for each in (path.parents[1], path.parent, path)] == [0o755, 0o755, 0o644]
    path.parent.chmod(0o750)
    path.chmod(0o640)
    write(path, text(ANSWERS), True)
    assert [each.stat().st_mode & 0o7777 for each in (path.parent, path)] == [0o750, 0o640]


def test_a_file_that_is_replaced_stays_its_owners(tmp_path: Path) -> None:
    """Root may run this; who reads the file is somebody else, or a group."""
    path = tmp_path / "appliance.toml"
    path.write_text("old")
    owner = (65534, 65534) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(path, *owner)
    write(path, text(ANSWERS), True)
    assert (path.stat().st_uid, path.stat().st_gid) == owner


def test_everything_that_was_there_is_kept(tmp_path: Path) -> None:
    """However often it is replaced, and a link as a link, be it to nothing."""
    path = tmp_path / "appliance.toml"
    path.write_text("first")
    assert write(path, text(ANSWERS), True) == tmp_path / "appliance.toml.before-init"
    path.write_text("second")
    assert write(path, text(ANSWERS), True) == tmp_path / "appliance.toml.before-init.2"
    path.unlink()
    path.symlink_to("nowhere")
    kept = write(path, text(ANSWERS), True)
    assert kept == tmp_path / "appliance.toml.before-init.3"
    assert kept.readlink() == Path("nowhere")
    assert (tmp_path / "appliance.toml.before-init").read_text() == "first"
    assert (tmp_path / "appliance.toml.before-init.2").read_text() == "second"
    assert len(load(path).sites) == 1
    assert len(list(tmp_path.iterdir())) == 4


def test_what_is_no_file_stays(tmp_path: Path) -> None:
    """A folder or a pipe is never moved away."""
    with pytest.raises(StoreError, match="is a folder: name a file by --config"):
        write(tmp_path, text(ANSWERS), True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="is no regular file: name a file by --config"):
        write(tmp_path / "pipe", text(ANSWERS), True)
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_what_would_not_do_is_not_written(tmp_path: Path) -> None:
    """Nor is anything left behind; a folder that cannot be written is named."""
    with pytest.raises(ConfigurationError):
        write(tmp_path / "c.toml", "what is this", True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write(tmp_path / "file" / "c.toml", text(ANSWERS), False)


@pytest.mark.parametrize(
    ("answer", "address"),
    [
        ("8000", "http://127.0.0.1:8000"),
        (" localhost:80 ", "http://localhost:80"),
        ("/run/app.sock", "unix:/run/app.sock"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
        ("https://a:1", "https://a:1"),
    ],
)
def test_addresses(answer: str, address: str) -> None:
    """As people write them."""
    assert upstream(answer) == address
