"""A request's path as names below a root: what no honest client asks for is not looked for."""

from __future__ import annotations

import re

from appliance.errors import RequestError

Names = tuple[bytes, ...]
"""The components of a path below a root, from the outermost."""

_WELL_KNOWN = b".well-known"
"""The one name with a dot that is public by definition, at the top only (RFC 8615)."""

_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})?")
_NEVER = re.compile(rb"[\x00-\x1f\x7f/\\]")


def names_of(path: bytes) -> tuple[Names, bool]:
    """The names in the path below a route's prefix, and whether it ends with a slash, as a folder's does.

    ``path`` is as the client sent it, without query: empty or beginning with ``/``. It is cut at the slashes before it
    is decoded, and decoded once, so that an encoded slash or dot is never more than a character of a name. Raises
    RequestError, 404, for what cannot be the name of anything that is served: empty names, ``.``, ``..``, other names
    that begin with a dot, control characters, slashes and backslashes within names.
    """
    parts = path.split(b"/")[1:]
    folder = bool(parts) and not parts[-1]
    if folder:
        parts.pop()
    return tuple(_name(part, top=not position) for position, part in enumerate(parts)), folder


def _name(part: bytes, *, top: bool) -> bytes:
    name = _ENCODED.sub(_decoded, part) if b"%" in part else part
    if not name or _NEVER.search(name) or (name.startswith(b".") and not (top and name == _WELL_KNOWN)):
        raise RequestError(404, "a path that is not looked for")
    return name


def _decoded(found: re.Match[bytes]) -> bytes:
    if found[1] is None:
        raise RequestError(404, "a malformed percent-encoding")
    return bytes((int(found[1], 16),))
