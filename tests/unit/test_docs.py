"""The documentation: what it says to write can be written."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config.file import load
from appliance.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^( *)(?:[-*] +)*\.\. code-block:: toml\n\n((?:\1 +\S.*\n|\n)+)", re.MULTILINE)
_ACME = "[acme]\nagree_tos = true\n"
_NOT_HERE = ("No such file", "is not there", "hash-password")
"""What is wrong with files that readers have and this machine has not, and with the place of a password's hash."""
_SITE = '[[site]]\nnames = ["one.example"]\nupstream = "http://127.0.0.1:8000"\n'


def configurations() -> Iterator[tuple[str, str]]:
    """Every TOML block, and where it stands."""
    for page in [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]:
        text = page.read_text()
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 1
            yield f"{page.name}:{line}", textwrap.dedent(block[2])


def test_there_are_configurations() -> None:
    """The search for them finds some on many pages."""
    assert len({where.partition(":")[0] for where, _ in configurations()}) > 3


@pytest.mark.parametrize(("where", "block"), list(configurations()))
def test_configurations(tmp_path: Path, where: str, block: str) -> None:
    """Each is valid, with a site and a CA where it has none."""
    whole = ("" if "[acme]" in block else _ACME) + block + ("" if "[[site]]" in block else _SITE)
    file = tmp_path / "appliance.toml"
    file.write_text(whole)
    try:
        load(file)
    except ConfigurationError as error:
        mistakes = [mistake for mistake in error.mistakes if not any(each in mistake.message for each in _NOT_HERE)]
        assert not mistakes, f"{where}: {mistakes}"
