"""What the package is said to contain, against what there is."""

import configparser
from pathlib import Path

from appliance import __version__

ROOT = Path(__file__).parents[2]


def setup() -> configparser.ConfigParser:
    """setup.cfg, parsed."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_all_packages_are_listed() -> None:
    """The list is by hand, so that the plugin folder is in it: a package left out would be missing from the wheel."""
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "appliance").rglob("*.py")}
    assert set(setup()["options"]["packages"].split()) == there | {"twisted.plugins"}


def test_twisted_is_left_alone() -> None:
    """An __init__.py in either folder would hide Twisted itself, or its plugins."""
    files = {file.relative_to(ROOT) for file in (ROOT / "twisted").rglob("*.py")}
    assert files == {Path("twisted/plugins/appliance_plugin.py")}


def test_txacme_is_bounded() -> None:
    """Without bounds, pip may fall back to a version that cannot be imported."""
    (txacme,) = [line for line in setup()["options"]["install_requires"].split("\n") if line.startswith("txacme")]
    assert txacme == "txacme>=0.9.3,<0.10"


def test_the_version_has_one_home() -> None:
    """setup.cfg reads it from the package."""
    assert setup()["metadata"]["version"] == "attr: appliance.__version__"
    assert __version__.count(".") == 2
