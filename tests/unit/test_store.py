"""Certificates on disk, behind txacme's interface."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pem
import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from txacme.interfaces import ICertificateStore

from appliance.errors import CertificateError, StoreError
from appliance.store import CertificateStore
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate

NOW = datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC)
succeeded = SynchronousTestCase().successResultOf
failed = SynchronousTestCase().failureResultOf


def at_once(function: Callable[[], Any]) -> Deferred[Any]:
    """A thread pool without threads."""
    return maybeDeferred(function)


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    return CertificateStore(tmp_path / "certificates", at_once, now=lambda: NOW)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def objects(*names: str) -> list[pem.AbstractPEMObject]:
    return pem.parse(make_certificate(names).to_pem())


def put(store: CertificateStore, name: str, items: list[pem.AbstractPEMObject] | None = None) -> bytes:
    """Store a certificate; return what is in its file."""
    succeeded(store.store(name, items or objects(name)))
    return (store._directory / f"{name}.pem").read_bytes()


def test_interface(store: CertificateStore) -> None:
    """It is what txacme calls a certificate store."""
    assert ICertificateStore.providedBy(store)


def test_round_trip(store: CertificateStore) -> None:
    """What is stored comes back, as the same PEM objects, by ``get`` and by ``as_dict``, and by ``certificates``."""
    items, wildcard = objects("example.com"), objects("*.example.com")
    put(store, "example.com", items)
    put(store, "*.example.com", wildcard)
    assert succeeded(store.get("example.com")) == items
    assert succeeded(store.as_dict()) == {"example.com": items, "*.example.com": wildcard}
    made = succeeded(store.certificates())
    assert {name: pem.parse(each.to_pem()) for name, each in made.items()} == succeeded(store.as_dict())


def test_files(store: CertificateStore) -> None:
    """One PEM per name, keys 0600, folders 0700."""
    put(store, "*.example.com")
    folder = store._directory
    assert [file.name for file in folder.iterdir()] == ["*.example.com.pem"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "*.example.com.pem").stat().st_mode) == 0o600


def test_objects_without_a_last_newline(store: CertificateStore) -> None:
    """PEM objects from elsewhere may lack a newline at their end; the file is right nonetheless."""
    bare = [type(item)(item.as_bytes().strip()) for item in objects("example.com")]
    put(store, "example.com", bare)
    assert len(succeeded(store.get("example.com"))) == 2


def test_previous_generation_is_kept_and_not_listed(store: CertificateStore) -> None:
    """The certificate before stays beside the new one, and is nobody's by itself."""
    first, second = put(store, "example.com"), put(store, "example.com")
    assert (store._directory / "example.com.pem.previous").read_bytes() == first != second
    assert list(succeeded(store.as_dict())) == ["example.com"]


def test_missing(store: CertificateStore) -> None:
    """No folder is an empty store; no file is a ``KeyError``, and so is a name that cannot be one."""
    assert succeeded(store.as_dict()) == {}
    for name in ("example.com", "../passwd", ""):
        failed(store.get(name), KeyError)


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a\0b", "x" * 221, "ü.example", "-"])
def test_names_that_are_no_file_names(store: CertificateStore, name: str, tmp_path: Path) -> None:
    """Nothing is written under a name that a path could be made of."""
    assert "not a host name" in failed(store.store(name, objects("x.example")), StoreError).getErrorMessage()
    assert list(tmp_path.iterdir()) == []


def test_long_names_fit_with_every_suffix(store: CertificateStore) -> None:
    """The longest name that is taken can be stored twice and set aside."""
    name = ".".join(["a" * 54] * 4)[:220]
    put(store, name)
    put(store, name)
    (store._directory / f"{name}.pem").write_bytes(b"junk")
    assert list(succeeded(store.as_dict())) == [name]


def test_only_certificates_with_their_key_are_stored(store: CertificateStore) -> None:
    """A list without a key is refused, and what is there stays."""
    before = put(store, "example.com")
    failed(store.store("example.com", objects("example.com")[1:]), CertificateError)
    assert (store._directory / "example.com.pem").read_bytes() == before


@pytest.mark.parametrize("junk", [b"", b"\0" * 4096, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_corrupt_file_is_set_aside(store: CertificateStore, junk: bytes, logged: list[str]) -> None:
    """One file of no use: renamed, logged with what follows, and the others are served."""
    put(store, "good.example")
    bad = store._directory / "bad.example.pem"
    bad.write_bytes(junk)
    assert list(succeeded(store.certificates())) == ["good.example"]
    assert not bad.exists()
    assert bad.with_name("bad.example.pem.corrupt-20270304T050607Z").read_bytes() == junk
    assert any("bad.example.pem is of no use" in line for line in logged)
    assert any("a new certificate will be needed" in line for line in logged)
    failed(store.get("bad.example"), KeyError)


def test_every_cut_off_file_is_noticed(store: CertificateStore) -> None:
    """Cut anywhere inside a PEM block, even an intermediate's, the previous generation takes its place."""
    chain = [*objects("example.com"), objects("intermediate.example")[1]]
    old = put(store, "example.com")
    whole = put(store, "example.com", chain)
    path = store._directory / "example.com.pem"
    marks = [mark.start() for mark in re.finditer(b"-----(BEGIN|END)", whole)]
    cuts = {cut for mark in marks for cut in range(max(0, mark - 2), mark + 30, 3)} | set(range(0, len(whole), 97))
    for cut in cuts:
        blocks = whole[:cut].rstrip().split(b"-----\n-----")
        if len(blocks) >= 2 and re.search(rb"-----END [A-Z ]+-----\s*\Z", whole[:cut]):
            continue  # a key and whole certificates: nothing is missing that could be noticed
        path.write_bytes(whole[:cut])
        if cut % 2:
            assert succeeded(store.get("example.com")) == pem.parse(old)
        else:
            assert succeeded(store.certificates())["example.com"] == Certificate.from_pem(old)
        assert path.read_bytes() == old, "restored, for the next start"


def test_previous_generation_of_no_use_either(store: CertificateStore, logged: list[str]) -> None:
    """Two bad generations are said to be so, and nothing is served."""
    put(store, "example.com")
    for suffix in ("pem", "pem.previous"):
        (store._directory / f"example.com.{suffix}").write_bytes(b"junk")
    assert succeeded(store.as_dict()) == {}
    assert any("of no use either" in line for line in logged)


def test_read_only_file_system_still_serves(
    store: CertificateStore, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be set aside or restored, the previous generation is served all the same."""
    old = put(store, "example.com")
    put(store, "example.com")
    (store._directory / "example.com.pem").write_bytes(b"junk")

    def refuse(*args: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for call in ("link", "rename", "unlink", "mkdir", "chmod"):
        monkeypatch.setattr(os, call, refuse)
    assert succeeded(store.as_dict()) == {"example.com": pem.parse(old)}
    assert any("Read-only file system" in line for line in logged)


def test_unreadable_file(store: CertificateStore, logged: list[str]) -> None:
    """A file that cannot be read keeps no other from being served; asked for, it is a ``StoreError``."""
    put(store, "good.example")
    (store._directory / "bad.example.pem").mkdir()
    assert list(succeeded(store.as_dict())) == ["good.example"]
    assert any("cannot read" in line and "bad.example.pem" in line for line in logged)
    failed(store.get("bad.example"), StoreError)


def test_unreadable_folder(tmp_path: Path) -> None:
    """A folder that cannot be listed is an error, not an empty store."""
    (tmp_path / "file").write_bytes(b"")
    store = CertificateStore(tmp_path / "file", at_once)
    assert "cannot list" in failed(store.as_dict(), StoreError).getErrorMessage()


def test_start_cleans_up(store: CertificateStore) -> None:
    """Temporary files of a killed process go at the first look, and a folder open to others is closed."""
    folder = store._directory
    folder.mkdir(mode=0o755)
    (folder / ".0123.tmp").write_bytes(b"half")
    succeeded(store.as_dict())
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_clean_up_that_fails(store: CertificateStore, logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be tightened is complained about, and read."""
    put(store, "example.com")
    store._directory.chmod(0o755)

    def refuse(*args: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chmod", refuse)
    assert list(succeeded(store.as_dict())) == ["example.com"]
    assert any("chmod 700" in line for line in logged)


def test_no_folder_and_none_can_be_made(
    store: CertificateStore, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only file system without our folder is an empty store, and complained about."""

    def refuse(*args: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    assert succeeded(store.as_dict()) == {}
    assert any("make its file system writable" in line for line in logged)


def test_foreign_files_are_left_alone(store: CertificateStore) -> None:
    """Files that are not named like a certificate's are neither read nor touched."""
    put(store, "example.com")
    for name in ("README", "what ever.pem", ".pem"):
        (store._directory / name).write_bytes(b"x")
    assert list(succeeded(store.as_dict())) == ["example.com"]
    assert (store._directory / "what ever.pem").exists()


def test_one_operation_at_a_time(tmp_path: Path) -> None:
    """A second operation starts when the first one's thread has ended."""
    started: list[Deferred[None]] = []

    def later(function: Callable[[], Any]) -> Deferred[Any]:
        thread: Deferred[None] = Deferred()
        started.append(thread)
        return thread.addCallback(lambda _: function())

    store = CertificateStore(tmp_path, later)
    first, second = store.store("a.example", objects("a.example")), store.as_dict()
    assert len(started) == 1
    started[0].callback(None)
    succeeded(first)
    started[1].callback(None)
    assert list(succeeded(second)) == ["a.example"]
