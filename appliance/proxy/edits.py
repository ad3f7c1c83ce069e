"""Header fields that are set, added and removed on the way, as a configuration says."""

from __future__ import annotations

import re

from appliance.config.site import HeaderEdits
from appliance.http.message import Head


class FieldEdit:
    """What several edits come to, one after the other. Which fields must not be touched was judged before."""

    __slots__ = ("_added", "_gone")

    def __init__(self, edits: list[HeaderEdits]) -> None:
        gone: set[str] = set()
        added: list[tuple[str, str]] = []
        for edit in edits:
            going = {name.lower() for name in (*edit.remove, *(name for name, _ in edit.set))}
            gone |= going
            added = [(name, value) for name, value in added if name.lower() not in going]
            added += (*edit.set, *edit.add)
        names = "|".join(map(re.escape, sorted(gone)))
        self._gone = re.compile(rf"(?im)^(?:{names}): [^\r]*\r\n".encode("ascii")) if gone else None
        self._added = "".join(f"{name}: {value}\r\n" for name, value in added).encode("ascii")

    def apply(self, head: Head) -> None:
        """See http.message.Edit."""
        lines = head.lines
        if self._gone is not None:
            lines = self._gone.sub(b"", lines)
        head.lines = lines + self._added
