"""Paths never lead out of the root; ranges are exactly what their definition says."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import RequestError
from appliance.files.names import names_of
from appliance.files.ranges import Span, length, multipart, wanted
from appliance.files.tree import Tree

PARTS = st.sampled_from(
    [
        b"a",
        b"b",
        b"l",
        b"..",
        b".",
        b"",
        b"%2e%2e",
        b"%2E.",
        b"..%2f",
        b"%2f",
        b"%5c..",
        b"\\..",
        b"%00",
        b"%",
        b"..;",
        b"%252e%252e",
    ]
)
PATHS = st.one_of(
    st.lists(PARTS, max_size=6).map(lambda parts: b"/" + b"/".join(parts)),
    st.binary(max_size=30).map(lambda path: b"/" + path),
    st.text(alphabet="./%2eEfF5cC\\ab", max_size=30).map(lambda path: b"/" + path.encode()),
)
LINKS = st.lists(st.sampled_from(["..", ".", "a", "b", "l", "", "secret", "/", "/etc"]), min_size=1, max_size=5).map(
    "/".join
)


@given(PATHS)
def test_names(path: bytes) -> None:
    """Whatever is asked for, a name is a name: no step upwards, no separator, nothing hidden."""
    try:
        names, _ = names_of(path)
    except RequestError:
        return
    for position, name in enumerate(names):
        assert name
        assert not set(name) & set(b"/\\\0\r\n")
        assert not name.startswith(b".") or (name == b".well-known" and not position)


@settings(max_examples=200, deadline=None)
@given(st.lists(LINKS, min_size=1, max_size=3), PATHS)
def test_links(links: list[str], path: bytes) -> None:
    """Whatever links there are, what is opened is below the root, as the kernel itself sees it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(os.path.realpath(folder)) / "root"
        (root / "a" / "b").mkdir(parents=True)
        (root.parent / "secret").write_text("secret")
        (root.parent / "a").write_text("secret")
        for place, target in zip((root / "l", root / "a" / "l", root / "a" / "b" / "l"), links, strict=False):
            place.symlink_to(target or "l")
        (root / "b").write_text("inside")
        (root / "a" / "b" / "b").write_text("inside")
        try:
            names, _ = names_of(path)
        except RequestError:
            return
        if not names:
            return
        with Tree(root).visit() as visit:
            file = visit.file(names)
        if file is not None:
            try:
                opened = os.readlink(f"/proc/self/fd/{file.descriptor}")
                assert opened.startswith(f"{root}/")
                assert os.read(file.descriptor, 10) == b"inside"
            finally:
                os.close(file.descriptor)


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 60), st.none() | st.integers(0, 60)), min_size=1, max_size=4),
    st.integers(0, 50),
)
def test_ranges(asked: list[tuple[int | None, int | None]], size: int) -> None:
    """The parts that are sent are those bytes of the content that the ranges name, in their order."""
    content = bytes(range(size))
    value = b"bytes=" + b", ".join(
        (b"%d" % first if first is not None else b"") + b"-" + (b"%d" % last if last is not None else b"")
        for first, last in asked
    )
    spans = wanted(value, size)
    expected: list[bytes] = []
    for first, last in asked:
        if (first is None and last is None) or (first is not None and last is not None and last < first):
            assert spans is None
            return
        if first is None:
            part = content[-last:] if last else b""
        else:
            part = content[first:] if last is None else content[first : last + 1]
        if part:
            expected.append(part)
    joined = b"".join(expected)
    if len(set(joined)) < len(joined):
        assert spans is None
        return
    assert spans is not None
    assert [content[span.start : span.stop] for span in spans] == expected
    if spans:
        pieces = multipart(spans, size, b"text/plain", b"B")
        body = b"".join(content[piece.start : piece.stop] if isinstance(piece, Span) else piece for piece in pieces)
        assert len(body) == length(pieces)


@given(st.binary(max_size=60))
def test_ranges_of_nonsense(value: bytes) -> None:
    """Whatever is sent, the answer is a part of what is there, or nothing."""
    for prefix in (b"", b"bytes="):
        for span in wanted(prefix + value, 100) or []:
            assert 0 <= span.start < span.stop <= 100
