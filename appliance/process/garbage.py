"""When the interpreter looks for cyclic garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Make what stays for good, and look through it once: with thousands of sites, looking took a quarter of the start.

    Where it comes to nothing, all is as before.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.collect()  # once: what is frozen is never freed
        gc.freeze()
    finally:
        if enabled:
            gc.enable()


def collect_seldom() -> None:
    """Look for cyclic garbage less often, and never through what was there at the start.

    Connections and requests are freed by their reference counts. A look through all of them stops everything else for
    a tenth of a second with some thousand open, for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
