"""When the interpreter looks for cyclic garbage."""

from __future__ import annotations

import gc

import pytest

from appliance.process.garbage import collect_seldom, nothing_collected


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


def test_nothing_collected() -> None:
    """What is made meanwhile is never looked through; after that, or a failure, all is as before."""
    frozen = gc.get_freeze_count()
    try:
        with nothing_collected():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]  # type: ignore[var-annotated]
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
        frozen = gc.get_freeze_count()
        with pytest.raises(KeyError), nothing_collected():
            raise KeyError
        assert gc.isenabled()
        assert gc.get_freeze_count() <= frozen
        assert made
        gc.disable()
        with nothing_collected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
