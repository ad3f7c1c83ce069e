"""Which application a request is for: by host, then by the longest path prefix. Pure, and replaced as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from posixpath import normpath
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from attrs import frozen

Target = TypeVar("Target")


@frozen
class RouteEntry(Generic[Target]):
    """A path prefix (``/`` or without a final slash) and what serves it."""

    prefix: bytes
    target: Target
    strip_prefix: bool = False

    def matches(self, path: bytes) -> bool:
        """Whether ``path`` is the prefix or below it: ``/v1`` matches ``/v1/x``, never ``/v1x``."""
        prefix = self.prefix
        if prefix == b"/":  # the whole site, and so ``OPTIONS *`` too
            return True
        return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/")

    def rewrite(self, target: bytes) -> bytes:
        """The request target the application sees."""
        if not self.strip_prefix or self.prefix == b"/":
            return target
        rest = target[len(self.prefix) :]
        return rest if rest.startswith(b"/") else b"/" + rest


class SiteRoutes(Generic[Target]):
    """The routes of one site."""

    __slots__ = ("_only", "_routes", "name")

    def __init__(self, name: str, routes: Iterable[RouteEntry[Target]]) -> None:
        self.name = name
        self._routes = tuple(sorted(routes, key=lambda route: -len(route.prefix)))
        self._only = self._routes[0] if len(self._routes) == 1 and self._routes[0].prefix == b"/" else None

    def find(self, target: bytes) -> RouteEntry[Target] | None:
        """The longest matching route for a request target; None if the site has none for it.

        None, too, if it were another one once the path is decoded, as applications decode it: ``/%61dmin`` must not
        get around what holds for ``/admin``.
        """
        if self._only is not None:
            return self._only
        path = target.partition(b"?")[0]
        route = self._match(path)
        if (b"%" in path or b"//" in path or b"/." in path) and self._match(_plain(path)) is not route:
            return None
        return route

    def _match(self, path: bytes) -> RouteEntry[Target] | None:
        return next((route for route in self._routes if route.matches(path)), None)


def _plain(path: bytes) -> bytes:
    """A path as a lenient server might read it: decoded once, without empty and dot segments."""
    return b"/" + normpath(unquote_to_bytes(path)).lstrip(b"/")


class RouteTable(Generic[Target]):
    """All sites by host name: lower-case bytes, exact or ``*.`` and a suffix."""

    __slots__ = ("_sites",)

    def __init__(self, sites: Mapping[bytes, SiteRoutes[Target]]) -> None:
        self._sites = dict(sites)

    def find(self, host: bytes) -> SiteRoutes[Target] | None:
        """The site of a host: the exact name, else a wildcard for its first label."""
        site = self._sites.get(host)
        if site is None:
            site = self._sites.get(b"*." + host.partition(b".")[2])
        return site

    def changed(self, sites: Mapping[bytes, SiteRoutes[Target]]) -> RouteTable[Target]:
        """A table in which these replace those of the same names."""
        return RouteTable({**self._sites, **sites})
