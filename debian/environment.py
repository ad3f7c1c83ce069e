"""Makes a virtual environment that was put together under a package's root fit for the place where it will be.

``environment.py ROOT HOME``: it is in ROOT/HOME now, and will be in /HOME.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

KEPT = {"appliance", "twist"}
"""The programs that are of use; the others, of packages that come along, are not."""


def main(root: Path, home: Path) -> None:
    """Change programs and pyvenv.cfg; take away what only pip needs or what tells where it was built."""
    there, here = Path("/") / home, root / home
    for program in (here / "bin").iterdir():
        if program.name in KEPT:
            _, _, rest = program.read_text().partition("\n")
            program.write_text(f"#!{there}/bin/python3 -I\n{rest}")
        elif not program.is_symlink():
            program.unlink()
    lines = (here / "pyvenv.cfg").read_text().splitlines(keepends=True)
    (here / "pyvenv.cfg").write_text("".join(line for line in lines if not line.startswith("command")))
    shutil.rmtree(here / "include")
    for record in here.glob("lib/python3*/site-packages/*.dist-info/direct_url.json"):
        record.unlink()
    named = [path for path in here.rglob("*") if path.is_file() and str(root.absolute()).encode() in path.read_bytes()]
    if named:
        sys.exit(f"these name the folder they were built in: {', '.join(map(str, named))}")


main(Path(sys.argv[1]), Path(sys.argv[2]))
