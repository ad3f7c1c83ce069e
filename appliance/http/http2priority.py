"""Priorities (RFC 9218): which answers go first where the windows or the socket do not take them all."""

from __future__ import annotations

from typing import Final, NamedTuple

_URGENCIES = frozenset(b"%d" % urgency for urgency in range(8))


class Priority(NamedTuple):
    """What a client says of one answer."""

    urgency: int = 3
    """From 0, the most urgent, to 7."""
    incremental: bool = False
    """Whether pieces are of use to it: such answers of one urgency take turns, others go one after the other."""


UNSAID: Final = Priority(incremental=True)
"""Of clients that say nothing: all answers take turns."""


def read_priority(value: bytes) -> Priority:
    """The ``Priority`` field, or a PRIORITY_UPDATE's; what is unknown or malformed in it counts for nothing."""
    urgency, incremental = Priority()
    for member in value.split(b",")[:8]:
        name, _, said = member.partition(b";")[0].strip().partition(b"=")
        if name == b"u" and said in _URGENCIES:
            urgency = int(said)
        elif name == b"i" and said in (b"", b"?1", b"?0"):
            incremental = said != b"?0"
    return Priority(urgency, incremental)
