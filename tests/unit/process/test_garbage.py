"""When the interpreter looks for cyclic garbage."""

from __future__ import annotations

import gc

from appliance.process.garbage import collect_seldom


def test_seldom() -> None:
    """Less often than by default, and not through what is there already."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        collect_seldom()
        assert gc.get_threshold()[0] > before[0] or before[0] == 20_000
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
