"""``kill -9`` before, in and after every system call that keeps state: the next start finds something that works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pem
import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from appliance.acme.state import RenewalState, StateFolder
from appliance.store import CertificateStore
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate

NAME = "a.example"
CALLS = ("mkdir", "chmod", "open", "fchmod", "write", "fsync", "rename", "link", "unlink")
"""All that changes the disk; a test holds that the code uses no others."""
MOMENTS = ("before", "within", "after")
NOW = datetime(2027, 1, 1, tzinfo=UTC)
ATTEMPT = RenewalState().begin([NAME], NOW, NOW + timedelta(minutes=1))
succeeded = SynchronousTestCase().successResultOf


def at_once(function: Callable[[], Any]) -> Deferred[Any]:
    """A thread pool without threads."""
    return maybeDeferred(function)


def store_in(folder: Path) -> CertificateStore:
    return CertificateStore(folder / "certificates", at_once)


def file_of(folder: Path) -> Path:
    return folder / "certificates" / f"{NAME}.pem"


def put(folder: Path, content: bytes) -> None:
    succeeded(store_in(folder).store(NAME, pem.parse(content)))


# What is done when the kill comes: prepare a folder, then act on it. Both get the old and the new certificate.


def nothing(folder: Path, old: bytes, new: bytes) -> None:
    """An empty disk."""


def two_generations(folder: Path, old: bytes, new: bytes) -> None:
    """An old certificate and its predecessor."""
    put(folder, make_certificate([NAME]).to_pem())
    put(folder, old)


def corrupt_with_previous(folder: Path, old: bytes, new: bytes) -> None:
    """A file that makes no sense, the old certificate kept beside it."""
    put(folder, old)
    put(folder, make_certificate([NAME]).to_pem())
    file_of(folder).write_bytes(b"junk")


def write_new(folder: Path, old: bytes, new: bytes) -> None:
    """Store the new certificate."""
    put(folder, new)


def first_look(folder: Path, old: bytes, new: bytes) -> None:
    """Look into the store, which sets aside and restores."""
    succeeded(store_in(folder).as_dict())


def write_record(folder: Path, old: bytes, new: bytes) -> None:
    """Write down that an attempt has begun."""
    StateFolder(folder / "renewal").save(NAME, ATTEMPT)


SCENARIOS = {
    "first": (nothing, write_new),
    "renewal": (two_generations, write_new),
    "restore": (corrupt_with_previous, first_look),
    "record": (two_generations, write_record),
}


# The victim


def kill_at(nth: int, moment: str) -> Callable[[], int]:
    """Wrap the calls so that the process dies at the nth of them; return a function that counts them."""
    count = 0

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            here = count == nth
            if here and moment == "within" and name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            if here and moment != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapper

    for name in CALLS:
        setattr(os, name, wrap(name, getattr(os, name)))
    return lambda: count


def run_victims(scenario: str, base: Path, old: bytes, new: bytes) -> int:
    """Prepare one folder per kill under ``base``, and in each of them let a child be killed; return how many calls."""
    prepare, act = SCENARIOS[scenario]
    nth, total = 0, 1
    while nth <= total:
        for moment in MOMENTS:
            folder = base / f"{nth:02d}-{moment}"
            folder.mkdir()
            prepare(folder, old, new)
            child = os.fork()
            if child == 0:
                counted = kill_at(nth, moment)
                act(folder, old, new)
                os._exit(counted())
            status = os.waitpid(child, 0)[1]
            if nth == 0:  # nobody is killed at the zeroth: that one counts
                total = os.waitstatus_to_exitcode(status)
            elif os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                raise SystemExit(f"{folder}: not killed, but {status}")
        nth += 1
    return total


# The tests


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_every_call(scenario: str, tmp_path: Path) -> None:
    """Killed at any of them, the next start serves a whole certificate, cleans up, and can renew."""
    old, new, newer = (make_certificate([NAME]).to_pem() for _ in range(3))
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(new)
    base = tmp_path / "killed"
    base.mkdir()
    arguments = [sys.executable, "-m", "tests.integration.test_store_kill", scenario, str(base), str(tmp_path)]
    root = Path(__file__).parents[2]
    victims = subprocess.run(arguments, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert victims.returncode == 0, victims.stderr
    folders = sorted(base.iterdir())
    assert len(folders) >= 3 * 6, "at least an open, a chmod, a write, two syncs and a rename"
    for folder in folders:
        check_next_start(scenario, folder, {pem_of(old), pem_of(new)}, newer)


def check_next_start(scenario: str, folder: Path, good: set[bytes], newer: bytes) -> None:
    store = store_in(folder)
    found = succeeded(store.as_dict())
    if scenario != "first":
        assert list(found) == [NAME], folder
    for objects in found.values():
        assert b"".join(item.as_bytes() for item in objects) in good, folder
    assert not list((folder / "certificates").glob(".*")), f"{folder}: temporary files are left"
    loaded = StateFolder(folder / "renewal").load([NAME], NOW)
    assert loaded.states[NAME] in (RenewalState(), ATTEMPT)
    assert not loaded.complaints
    assert not list((folder / "renewal").glob(".*")), f"{folder}: temporary files are left"
    put(folder, newer)
    assert file_of(folder).read_bytes() == pem_of(newer)
    for file in (folder / "certificates").iterdir():
        if "corrupt" not in file.name:
            Certificate.from_pem(file.read_bytes())


def pem_of(content: bytes) -> bytes:
    return b"".join(item.as_bytes() for item in pem.parse(content))


def test_no_other_calls_change_the_disk(tmp_path: Path) -> None:
    """The list of calls above is all there is: checked with Python's audit events in a process of its own."""
    program = f"""
import sys
from pathlib import Path
from tests.integration import test_store_kill as here
folder = Path({str(tmp_path)!r})
old, new = (here.make_certificate([here.NAME]).to_pem() for _ in range(2))
seen = set()
sys.addaudithook(lambda event, args: seen.add(event) if event.startswith(("os.", "shutil.", "tempfile.")) else None)
here.corrupt_with_previous(folder, old, new)
here.first_look(folder, old, new)
here.write_record(folder, old, new)
print(*seen)
"""
    arguments = [sys.executable, "-c", program]
    done = subprocess.run(
        arguments, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=True
    )
    seen = set(done.stdout.split())
    assert {"os.link", "os.mkdir", "os.rename"} <= seen
    # os.chmod is fchmod's event too; os.remove is unlink's.
    assert seen <= {"os.chmod", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename"}


if __name__ == "__main__":
    _, chosen, base_folder, source = sys.argv
    run_victims(chosen, Path(base_folder), (Path(source) / "old").read_bytes(), (Path(source) / "new").read_bytes())
