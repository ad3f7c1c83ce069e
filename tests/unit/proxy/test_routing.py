"""Which application a request is for."""

from __future__ import annotations

import pytest

from appliance.proxy.routing import RouteEntry, RouteTable, SiteRoutes

SITE = SiteRoutes(
    "site",
    [
        RouteEntry(b"/", "root"),
        RouteEntry(b"/v1", "v1"),
        RouteEntry(b"/v1/admin", "admin"),
        RouteEntry(b"/v2", "v2", True),
    ],
)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"/", "root"),
        (b"/v", "root"),
        (b"/v1", "v1"),
        (b"/v1?x=/v2", "v1"),
        (b"/v1/", "v1"),
        (b"/v1x", "root"),
        (b"/v1/admin", "admin"),
        (b"/v1/admin/x?y", "admin"),
        (b"/v1/administer", "v1"),
        (b"/?/v1", "root"),
        (b"/V1", "root"),
        (b"*", "root"),
    ],
)
def test_longest_prefix(target: bytes, found: str) -> None:
    """The longest prefix that ends at a path segment's end wins, whatever the order and the query."""
    route = SITE.find(target)
    assert route is not None
    assert route.target == found


def test_no_route() -> None:
    """A site whose routes do not cover a path has nothing for it."""
    site = SiteRoutes("site", [RouteEntry(b"/v1", "v1")])
    assert site.find(b"/") is None
    assert site.find(b"/v1/x") is not None
    assert SiteRoutes[str]("none", []).find(b"/") is None


@pytest.mark.parametrize(
    ("target", "seen"),
    [(b"/v2", b"/"), (b"/v2/", b"/"), (b"/v2/a/b?c", b"/a/b?c"), (b"/v2?c", b"/?c"), (b"/v2//a", b"//a")],
)
def test_strip_prefix(target: bytes, seen: bytes) -> None:
    """A stripped prefix leaves a target that still begins with a slash, query and all."""
    route = SITE.find(target)
    assert route is not None
    assert route.rewrite(target) == seen


def test_nothing_to_strip() -> None:
    """Without `strip_prefix`, and for the root, the target stays as it is."""
    assert RouteEntry(b"/v1", "").rewrite(b"/v1/a") == b"/v1/a"
    assert RouteEntry(b"/", "", True).rewrite(b"/a?b") == b"/a?b"
    assert RouteEntry(b"/", "", True).rewrite(b"*") == b"*"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"example.com", "apex"),
        (b"www.example.com", "wildcard"),
        (b"exact.example.com", "exact"),
        (b"a.b.example.com", None),
        (b"com", None),
        (b"xexample.com", None),
        (b"", None),
    ],
)
def test_hosts(host: bytes, name: str | None) -> None:
    """An exact name comes first, then a wildcard for exactly one label."""
    table = RouteTable(
        {
            b"example.com": SiteRoutes[str]("apex", []),
            b"*.example.com": SiteRoutes[str]("wildcard", []),
            b"exact.example.com": SiteRoutes[str]("exact", []),
        }
    )
    site = table.find(host)
    assert (site.name if site else None) == name


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/admin/x", "admin"),
        (b"/x", "rest"),
        (b"/%61dmin/x", None),
        (b"/adm%69n", None),
        (b"//admin", None),
        (b"/./admin", None),
        (b"/x/../admin/", None),
        (b"/x/%2e%2e/admin", None),
        (b"/%2fadmin", None),
        (b"/admin%2fx", None),
        (b"/admin/../x", None),
        (b"/admin/..%2fx", None),
        (b"/admin/x%2fy/%20", "admin"),
        (b"/admin//x/./y", "admin"),
        (b"/x%zz%", "rest"),
        (b"/%2561dmin", "rest"),
        (b"/..", "rest"),
        (b"/x?a=/../admin&b=%61dmin", "rest"),
        (b"/.well-known/x", "rest"),
    ],
)
def test_other_spellings(target: bytes, expected: str | None) -> None:
    """A spelling that an application would read as another route's path leads to neither."""
    site = SiteRoutes("site", [RouteEntry(b"/", "rest"), RouteEntry(b"/admin", "admin")])
    found = site.find(target)
    assert (found.target if found is not None else None) == expected
