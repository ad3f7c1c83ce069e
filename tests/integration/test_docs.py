"""The documentation as Sphinx reads it."""

from __future__ import annotations

from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).parents[2]


def test_it_builds(tmp_path: Path) -> None:
    """No warning: no page that nothing leads to, no reference that leads nowhere."""
    assert build_main(["-q", "-W", "--keep-going", "-E", "-b", "html", str(ROOT / "docs"), str(tmp_path)]) == 0
    assert (tmp_path / "quickstart.html").exists()
