"""Builds the Debian package out of a copy of the sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

SECONDS = 300
"""How long a build may take."""


def build(folder: Path, version: str | None = None) -> Path:
    """The package, built in ``folder``; with another version than that of the sources, if one is given."""
    source = folder / "source"
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    if version is not None:
        _replace(source / "appliance" / "__init__.py", r'__version__ = "[^"]*"', f'__version__ = "{version}"')
        _replace(source / "debian" / "changelog", r"\([^)]*\)", f"({version})")
    with (folder / "build.log").open("wb") as log:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        subprocess.run(
            ["dpkg-buildpackage", "--no-sign", "--build=binary"],
            cwd=source,
            env={**environment, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=True,
        )
    (built,) = folder.glob("appliance_*.deb")
    return built


def complaints(built: Path) -> list[str]:
    """What lintian has to say of it: errors and warnings."""
    (changes,) = built.parent.glob("*.changes")
    done = subprocess.run(
        ["lintian", "--tag-display-limit", "0", changes], capture_output=True, text=True, timeout=600, check=False
    )
    return [line for line in done.stdout.splitlines() if line[:2] in ("E:", "W:")]


def _replace(file: Path, pattern: str, text: str) -> None:
    """The first one."""
    content, count = re.subn(pattern, text, file.read_text(), count=1)
    assert count, f"no {pattern} in {file}"
    file.write_text(content)
