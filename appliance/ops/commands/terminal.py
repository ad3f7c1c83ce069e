"""What all commands share: which appliance they are about, how they print, and what their exit status means."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from rich.console import Console

from appliance.config import Configuration
from appliance.config.file import DEFAULT_FILE, load, may_be_there, state_dir_of
from appliance.errors import ApplianceError, ConfigurationError
from appliance.ops.control.client import runs

OK = 0
FAILED = 1
"""What was asked for was not done, or is not well."""
BAD_CONFIGURATION = 2
"""Options or a configuration that cannot be used; argparse uses the same."""
NOT_RUNNING = 3

EXIT_STATUS = """\
exit status:
  0  done, and well
  1  not done, or found not to be well: the message says why
  2  options or a configuration that cannot be used
  3  no appliance is running there
"""

_PIPE_WIDTH = 160
"""Columns of tables that do not go to a terminal."""

Commands = Any
"""``argparse``'s subparsers, whose class has no public name."""


@frozen
class Target:
    """The appliance that a command is about."""

    state_dir: Path
    configuration: Configuration | None
    """None where only the folder is known."""


def add_command(
    commands: Commands,
    name: str,
    function: Callable[[argparse.Namespace], int],
    summary: str,
    examples: str = "",
) -> argparse.ArgumentParser:
    """A subcommand, with its function's docstring as description and examples below."""
    text = f"examples:\n{examples}\n{EXIT_STATUS}" if examples else EXIT_STATUS
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=inspect.cleandoc(function.__doc__ or ""),
        epilog=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option for programs."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, for programs")


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options of all commands about an appliance: which one is meant, and the one for programs."""
    parser.add_argument(
        "--config", "-c", type=Path, metavar="FILE", help=f"the configuration it runs with (default: {DEFAULT_FILE})"
    )
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="its state_dir, in place of a configuration that says so"
    )
    add_json(parser)


def target(options: argparse.Namespace) -> Target:
    """What the options mean. Raises ConfigurationError."""
    if options.state_dir is not None and options.config is None:
        return Target(options.state_dir.absolute(), None)
    if options.config is None and not may_be_there(DEFAULT_FILE):
        return Target(Configuration(()).state_dir, None)
    configuration = load(options.config or DEFAULT_FILE)
    folder = options.state_dir.absolute() if options.state_dir is not None else configuration.state_dir
    return Target(folder, configuration)


def target_to_ask(options: argparse.Namespace) -> Target:
    """As `target`; while a service runs there, mistakes in its file are none of its business, and nothing else is told.

    Raises ConfigurationError if none does.
    """
    try:
        return target(options)
    except ConfigurationError:
        given = options.state_dir
        folder = given.absolute() if given is not None else state_dir_of(options.config or DEFAULT_FILE)
        if folder is None or not runs(folder):
            raise
        return Target(folder, None)


def console(error: bool = False) -> Console:
    """Where to print: colour and the terminal's width only if it is one."""
    out = sys.stderr if error else sys.stdout
    return Console(
        file=out,
        highlight=False,
        emoji=False,
        markup=False,
        width=None if out.isatty() else _PIPE_WIDTH,
        soft_wrap=False,
    )


def printable(text: str) -> str:
    """Others' words, which must not command the terminal: what cannot be printed becomes an escape sequence."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def print_json(document: object) -> None:
    """For programs."""
    print(json.dumps(document, indent=1))


def complain(options: argparse.Namespace, error: ApplianceError, status: int) -> int:
    """Tell what went wrong, as the reader likes it; returns ``status``."""
    if getattr(options, "json", False):
        print_json({"error": str(error), "status": status})
    else:
        print(error, file=sys.stderr)
    return status
