"""When the interpreter looks for cyclic garbage."""

from __future__ import annotations

import gc


def collect_seldom() -> None:
    """Look for cyclic garbage less often, and never through what was there at the start.

    Connections and requests are freed by their reference counts. A look through all of them stops everything else for
    a tenth of a second with some thousand open, for nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
