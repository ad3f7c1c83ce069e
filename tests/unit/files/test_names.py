"""Which paths are looked for below a root, and which never are."""

from __future__ import annotations

import pytest

from appliance.errors import RequestError
from appliance.files.names import names_of


@pytest.mark.parametrize(
    ("path", "names", "folder"),
    [
        (b"", (), False),
        (b"/", (), True),
        (b"/a.css", (b"a.css",), False),
        (b"/css/a.css", (b"css", b"a.css"), False),
        (b"/css/", (b"css",), True),
        (b"/a%20b", (b"a b",), False),
        (b"/%C3%A9", (b"\xc3\xa9",), False),
        (b"/%2541", (b"%41",), False),
        (b"/.well-known/security.txt", (b".well-known", b"security.txt"), False),
        (b"/%2ewell-known/x", (b".well-known", b"x"), False),
        (b"/a..b/c.", (b"a..b", b"c."), False),
        (b"/~user;v=1/a:b", (b"~user;v=1", b"a:b"), False),
    ],
)
def test_names(path: bytes, names: tuple[bytes, ...], folder: bool) -> None:
    """Cut at slashes, decoded once."""
    assert names_of(path) == (names, folder)


@pytest.mark.parametrize(
    "path",
    [
        b"/..",
        b"/../etc/passwd",
        b"/a/../b",
        b"/a/..",
        b"/./a",
        b"/%2e%2e/etc/passwd",
        b"/%2E./x",
        b"/..%2fetc",
        b"/a%2fb",
        b"/a%2Fb",
        b"/a%5cb",
        b"/..%5c..%5cx",
        b"/a\\b",
        b"/a%00.css",
        b"/a%0d%0aX: y",
        b"/a%7f",
        b"/.git/config",
        b"/%2egit/config",
        b"/a/.env",
        b"/.well-known/.secret",
        b"/a/.well-known/x",
        b"//etc/passwd",
        b"/a//b",
        b"/a//",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/%u0041",
    ],
)
def test_never(path: bytes) -> None:
    """Nothing of this is a name of anything that is served."""
    with pytest.raises(RequestError) as refused:
        names_of(path)
    assert refused.value.status == 404
