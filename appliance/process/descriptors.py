"""File descriptors: every connection is one, and the system lets a process have so many."""

from __future__ import annotations

import resource

ENOUGH = 65_536
"""More are not asked for, even where they could be had: some systems allow a thousand million."""


def raise_limit() -> None:
    """Allow this process as many as the system lets it have; the usual soft limit of 1,024 is for programs of old."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """How many this process may have at present."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if soft == resource.RLIM_INFINITY else soft
