"""Configuration files, and what is wrong with them."""

from pathlib import Path
from textwrap import dedent

import pytest

from appliance.config.file import Override, load
from appliance.config.reading.schema import KeyPath
from appliance.errors import ConfigurationError, Mistake

SMALLEST = """\
[acme]
agree_tos = true
[[site]]
names = ["example.com"]
upstream = "http://127.0.0.1:8000"
"""


def written(folder: Path, text: str) -> Path:
    """A configuration file with this text."""
    file = folder / "appliance.toml"
    file.write_text(dedent(text))
    return file


def mistakes(file: Path | None, overrides: dict[KeyPath, Override] | None = None) -> tuple[Mistake, ...]:
    """What is wrong with it."""
    with pytest.raises(ConfigurationError) as caught:
        load(file, overrides or {})
    return caught.value.mistakes


def where(file: Path) -> list[tuple[int | None, str]]:
    """The line and key of every mistake."""
    return [(mistake.line, mistake.path) for mistake in mistakes(file)]
