"""Headless Chromium in tests: what it makes of a page, and pictures of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

PROGRAM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
THEMES = {"light": 1, "dark": 0}
"""By name, what Blink calls them."""


def _run(folder: Path, *arguments: str, url: str, patience: int) -> str:
    done = subprocess.run(
        [*PROGRAM, f"--user-data-dir={folder / 'chromium'}", f"--virtual-time-budget={patience}", *arguments, url],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    return done.stdout


def dom(folder: Path, url: str, patience: int = 2000, *arguments: str) -> str:
    """The page's document after its scripts had ``patience`` milliseconds; ``folder`` is for the browser's files."""
    return _run(folder, "--dump-dom", *arguments, url=url, patience=patience)


def picture(folder: Path, url: str, *, width: int, height: int, theme: str) -> bytes:
    """The page as a PNG."""
    path = folder / f"{width}-{theme}.png"
    size, scheme = f"--window-size={width},{height}", f"--blink-settings=preferredColorScheme={THEMES[theme]}"
    _run(folder, size, scheme, f"--screenshot={path}", url=url, patience=2000)
    return path.read_bytes()
