"""From a request's path to what answers it: a file in its best coding, a folder's slash, a fallback."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve, frozen

from appliance.errors import RequestError
from appliance.files.mediatypes import content_type
from appliance.files.names import Names, names_of
from appliance.files.tree import File, Tree, Visit
from appliance.http.compression import is_compressible
from appliance.http.message import RequestHead
from appliance.http.negotiation import choose_coding, weighted

INDEX = b"index.html"

_SIBLINGS = {b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"}
"""Codings of files that were compressed when the site was built, and how those are called; the best one first."""

_ENCODING = b"Accept-Encoding"
_DEEPEST = 64


@frozen
class Representation:
    """What answers a request. The file's descriptor is the receiver's to close."""

    file: File
    content_type: bytes
    coding: bytes = b""
    vary: bytes = b""
    """The fields of the request that decided between this and another one."""


class Slash(Exception):  # noqa: N818 - an answer, not an error
    """The path is a folder's, without the slash at its end that relative links need."""


class Selection:
    """The files of one route. ``prefix`` is the route's path, which the root stands for."""

    def __init__(self, root: Path, prefix: bytes, fallback: str | None = None) -> None:
        self._tree = Tree(root)
        self._cut = 0 if prefix == b"/" else len(prefix)
        self._fallback: Names | None = tuple(os.fsencode(fallback).split(b"/")) if fallback else None

    def select(self, request: RequestHead) -> Representation:
        """What answers a GET or HEAD; raises RequestError (404), Slash, tree.RootError, other OSErrors."""
        names, folder = names_of(request.path[self._cut :])
        if len(names) > _DEEPEST:
            raise RequestError(404, "a path that is too deep")
        with self._tree.visit() as visit:
            sought = (*names, INDEX) if folder else names
            file = visit.file(sought) if sought else None
            if file is not None:
                return _best(visit, sought, file, request)
            if not folder and (index := visit.file((*names, INDEX))) is not None:
                os.close(index.descriptor)
                raise Slash
            if self._fallback is not None and _navigates(request):
                file = visit.file(self._fallback)
                if file is not None:
                    best = _best(visit, self._fallback, file, request)
                    return evolve(best, vary=b"Accept, " + best.vary if best.vary else b"Accept")
        raise RequestError(404, "there is no such file")


def _navigates(request: RequestHead) -> bool:
    """Whether a page is wanted: an application's missing script or picture is missing, not a page."""
    return any(what == b"text/html" and quality > 0 for what, quality in weighted(request.fields, b"accept"))


def _best(visit: Visit, names: Names, file: File, request: RequestHead) -> Representation:
    """The file itself, or the one beside it that holds the same in a coding that the client likes better."""
    kind = content_type(names[-1])
    plain = Representation(file, kind)
    if not is_compressible(kind):
        return plain
    siblings: dict[bytes, File] = {}
    try:
        for coding, extension in _SIBLINGS.items():
            name = names[-1] + extension
            if visit.beside(name) and (sibling := visit.file((*names[:-1], name))) is not None:
                siblings[coding] = sibling
    except OSError:
        os.close(file.descriptor)
        _close(siblings)
        raise
    if not siblings:
        return plain
    chosen = choose_coding(weighted(request.fields, b"accept-encoding"), tuple(siblings))
    if not chosen:
        _close(siblings)
        return evolve(plain, vary=_ENCODING)
    os.close(file.descriptor)
    best = siblings.pop(chosen)
    _close(siblings)
    return Representation(best, kind, chosen, _ENCODING)


def _close(files: dict[bytes, File]) -> None:
    for file in files.values():
        os.close(file.descriptor)
