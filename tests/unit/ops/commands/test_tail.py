"""The end of a file, and what comes after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ops.commands import tail
from appliance.ops.commands.tail import Follower, last_lines


def everything(line: bytes) -> bool:
    """No line is unwanted."""
    return True


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=20), st.binary(max_size=5))
def test_any_file_in_any_blocks(lines: list[bytes], torn: bytes) -> None:
    """As if it were read whole: empty lines and one without an end are none."""
    import io

    torn = torn.replace(b"\n", b"")
    content = b"".join(line + b"\n" for line in lines) + torn
    whole = [line for line in lines if line]
    for size in (1, 3, 7, 100):
        for count in (0, 1, 2, 100):
            file = io.BytesIO(content)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(tail, "_BLOCK", size)
                assert last_lines(file, count, everything) == (whole[-count:] if count else [])
            if lines:
                assert file.read() == torn


def test_wanted_lines_only(tmp_path: Path) -> None:
    """However far back they are."""
    path = tmp_path / "log"
    path.write_bytes(b"a 1\n" + b"b\n" * 100_000 + b"a 2\nb\n")
    with open(path, "rb") as file:
        assert last_lines(file, 5, lambda line: line.startswith(b"a")) == [b"a 1", b"a 2"]


def test_following_through_rotation(tmp_path: Path) -> None:
    """Lines torn in two, a file that is moved away and another begun, one that is cut short, one that is gone."""
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    file = open(path, "rb")  # noqa: SIM115 - the follower's
    assert last_lines(file, 1, everything) == [b"one"]
    follower = Follower(path, file)
    with path.open("ab") as out:
        out.write(b"o\nthree\n")
    assert list(follower.lines()) == [b"two", b"three"]
    with path.open("ab") as out:
        out.write(b"four\n")
    path.rename(tmp_path / "log.1")
    assert list(follower.lines()) == [b"four"]
    path.write_bytes(b"five\n")
    assert list(follower.lines()) == [b"five"]
    path.write_bytes(b"6\n")
    assert list(follower.lines()) == [b"6"]
    path.unlink()
    assert list(follower.lines()) == []
    path.mkdir()
    assert list(follower.lines()) == []
    follower.close()
    assert follower.file.closed
