"""Conditional requests (RFC 9110 section 13): whether the client has the file already, or wants another version."""

from __future__ import annotations

import re
from email.utils import formatdate, mktime_tz, parsedate_tz
from functools import lru_cache

from appliance.http.message import Fields

PROCEED = 0
NOT_MODIFIED = 304
FAILED = 412

_TAG = re.compile(rb'[\t ,]*+(?:W/)?("[\x21\x23-\x7e\x80-\xff]*+")[\t ]*+(?=,|\Z)')
_LONGEST_DATE = 40

_NAMES = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range"})


def entity_tag(mtime_ns: int, size: int, coding: bytes = b"") -> bytes:
    """A strong validator: another one whenever the file was written again, and for each coding of it."""
    suffix = b"-" + coding if coding else b""
    return b'"%x-%x%b"' % (mtime_ns, size, suffix)


@lru_cache(1024)
def http_date(seconds: int) -> bytes:
    """A time since the epoch as HTTP writes it (section 5.6.7)."""
    return formatdate(seconds, usegmt=True).encode("ascii")


def conditions_of(fields: Fields) -> dict[bytes, bytes]:
    """The fields that this module and `ranges` are about, names in lower case, lists joined."""
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        lower = name.lower()
        if lower in _NAMES:
            found[lower] = found[lower] + b", " + value if lower in found else value
    return found


def verdict(conditions: dict[bytes, bytes], tag: bytes, modified: int) -> int:
    """`PROCEED`, `NOT_MODIFIED` or `FAILED` for a GET or HEAD, in the order of section 13.2.2.

    ``tag`` is a strong validator, ``modified`` seconds since the epoch.
    """
    if (listed := conditions.get(b"if-match")) is not None:
        if not _among(listed, tag, weakly=False):
            return FAILED
    elif (since := _date(conditions.get(b"if-unmodified-since"))) is not None and modified > since:
        return FAILED
    if (listed := conditions.get(b"if-none-match")) is not None:
        return NOT_MODIFIED if _among(listed, tag, weakly=True) else PROCEED
    since = _date(conditions.get(b"if-modified-since"))
    return NOT_MODIFIED if since is not None and modified <= since else PROCEED


def range_applies(conditions: dict[bytes, bytes], tag: bytes, modified: int) -> bool:
    """Whether the ``Range`` is about this version of the file (section 13.1.5)."""
    validator = conditions.get(b"if-range")
    return validator is None or validator == tag or validator == http_date(modified)


def _among(listed: bytes, tag: bytes, *, weakly: bool) -> bool:
    """Whether a list of tags, or ``*``, has this one. A list that is malformed has those before its first fault."""
    if listed == b"*":
        return True
    position = 0
    while found := _TAG.match(listed, position):
        if found[1] == tag and (weakly or listed[found.start(1) - 1 : found.start(1)] != b"/"):
            return True
        position = found.end()
    return False


def _date(value: bytes | None) -> float | None:
    """Seconds since the epoch; None for what is no date, which is then ignored."""
    if value is None or len(value) > _LONGEST_DATE:
        return None
    try:
        parsed = parsedate_tz(value.decode("ascii"))
        return None if parsed is None else mktime_tz(parsed)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
