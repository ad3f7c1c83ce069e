"""Loads every extension module in a folder of packages, to see that it can be: ``extensions.py FOLDER``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path


def main(packages: Path) -> None:
    """Raises ImportError for the first that cannot."""
    sys.path.insert(0, str(packages.absolute()))
    for extension in sorted(packages.rglob("*.so")):
        *above, last = extension.relative_to(packages).parts
        import_module(".".join([*above, last.partition(".")[0]]))


main(Path(sys.argv[1]))
