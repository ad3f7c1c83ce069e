"""The configuration as operators give it, a TOML file and command-line options: read, or told what is wrong with it."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import frozen

from appliance.config import Configuration
from appliance.config.reading.configuration import CONFIGURATION
from appliance.config.reading.schema import Document, KeyPath, Place
from appliance.config.reading.tomllines import locate
from appliance.errors import ConfigurationError, Mistake

DEFAULT_FILE = Path("/etc/appliance/appliance.toml")

COMMAND_LINE = "command line"

MAX_BYTES = 16 * 1024 * 1024
"""Larger files are refused: a hundred thousand sites fit in."""

_POSITION = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)")
_STATE_DIR = re.compile(r"^[ \t]*state_dir[ \t]*=.*$", re.MULTILINE)


@frozen
class Override:
    """A value from the command line, and the option it came with, which messages name."""

    option: str
    value: object


def load(file: Path | None, overrides: Mapping[KeyPath, Override] = MappingProxyType({})) -> Configuration:
    """Read ``file``, where there is one, with ``overrides`` put in; nothing on disk is changed.

    Raises :class:`ConfigurationError` with every mistake, in the order of the file.
    """
    tables, text = ({}, "") if file is None else _parse(file)
    for path, override in overrides.items():
        _put(tables, path, override.value)
    document = Document(
        CONFIGURATION,
        folder=(file or Path("file")).absolute().parent,
        lines=cache(lambda: _lines(text)),
        options={path: override.option for path, override in overrides.items()},
    )
    for configuration in Place(document).read(CONFIGURATION, tables):
        return configuration
    mistakes = sorted(document.mistakes, key=lambda mistake: mistake.line or 0)
    raise ConfigurationError(tuple(mistakes), COMMAND_LINE if file is None else str(file))


def may_be_there(file: Path) -> bool:
    """Whether there is such a file. One that cannot be looked at may be there: reading it tells why it cannot."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def state_dir_of(file: Path) -> Path | None:
    """The ``state_dir`` of a file with mistakes, as far as it can be made out; else the default. None of no file."""
    try:
        text = file.read_bytes()[:MAX_BYTES].decode("utf-8", "replace")
    except OSError:
        return None
    found = _STATE_DIR.search(text)
    try:
        given = tomllib.loads(found[0])["state_dir"] if found else None
    except (ValueError, RecursionError):
        given = None
    return file.absolute().parent / given if isinstance(given, str) and given else Configuration(()).state_dir


def _parse(file: Path) -> tuple[dict[str, Any], str]:
    """The tables of a file, and its text. A file that is no TOML at all has one mistake."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigurationError((Mistake("", f"is larger than {MAX_BYTES} bytes"),), str(file))
        text = content.decode("utf-8")
        return tomllib.loads(text), text
    except OSError as error:
        mistake = Mistake("", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        mistake = Mistake("", "is not UTF-8, which TOML is written in", content.count(b"\n", 0, error.start) + 1)
    except tomllib.TOMLDecodeError as error:
        found = _POSITION.search(str(error))
        line = int(found[1]) if found and found[1] else content.count(b"\n") + 1
        mistake = Mistake("", f"is not TOML: {_POSITION.sub('', str(error))}", line)
    except ValueError:  # of all that is written there, int() alone
        mistake = Mistake("", f"has a number of more than {sys.get_int_max_str_digits()} digits, which is too long")
    except RecursionError:
        mistake = Mistake("", "is nested too deeply")
    raise ConfigurationError((mistake,), str(file))


def _lines(text: str) -> dict[KeyPath, int]:
    """On which line each key stands; nothing of what is nested almost too deeply for ``tomllib`` already."""
    try:
        return locate(text)
    except RecursionError:
        return {}


def _put(tables: dict[str, Any], path: KeyPath, value: object) -> None:
    """Set a key, a key of a table, or one more site. A table that is no table stays, to be noted as such."""
    match path:
        case ("site", int()):
            tables.setdefault("site", []).append(value)
        case (str(table), str(key)):
            below = tables.setdefault(table, {})
            if isinstance(below, dict):
                below[key] = value
        case _:
            tables[str(path[0])] = value
