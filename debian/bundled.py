"""Lists the Python packages in the environment that runs this: what they are, and their licences.

``bundled.py FOLDER`` writes bundled.txt, a line for each, and bundled-licences.txt, the texts. A package that
is not in debian/copyright is an error.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

COPYRIGHT = Path(__file__).with_name("copyright")
TEXTS = ("LICEN", "COPYING", "NOTICE")


def normal(name: str) -> str:
    """A package's name, as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named() -> dict[str, str]:
    """The licence of every package in debian/copyright."""
    listed = re.findall(r"^  (\S+) +(\S.*)$", COPYRIGHT.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(listed)


def licence(package: Distribution) -> str:
    """What it says of itself, in a few words: the SPDX expression, or classifiers, or the older field."""
    about = package.metadata
    classifiers = [
        each.rpartition(" :: ")[2] for each in about.get_all("Classifier", []) if each.startswith("License ::")
    ]
    return about.get("License-Expression") or ", ".join(classifiers) or (about.get("License") or "").split("\n")[0]


def texts(package: Distribution) -> list[str]:
    """Of the licences, as they came with the package."""
    found = [each for each in package.files or () if each.name.upper().startswith(TEXTS) and each.suffix != ".py"]
    return [each.read_text(encoding="utf-8") for each in found if ".dist-info" in str(each)]


def main(folder: Path) -> None:
    """Write both files."""
    known = named()
    packages = sorted(
        (each for each in distributions() if each.name != "appliance"), key=lambda package: normal(package.name)
    )
    missing = [each.name for each in packages if normal(each.name) not in known]
    if missing:
        sys.exit(f"not in debian/copyright: {', '.join(missing)}")
    lines = [f"{each.name} {each.version}: {licence(each) or known[normal(each.name)]}\n" for each in packages]
    (folder / "bundled.txt").write_text("".join(lines), encoding="utf-8")
    whole = [
        f"{'=' * 72}\n{each.name} {each.version}\n{'=' * 72}\n\n{text}\n" for each in packages for text in texts(each)
    ]
    (folder / "bundled-licences.txt").write_text("\n".join(whole), encoding="utf-8")


main(Path(sys.argv[1]))
