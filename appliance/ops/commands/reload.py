"""The command ``appliance reload``."""

from __future__ import annotations

import argparse
import sys

from appliance.ops.commands.terminal import (
    BAD_CONFIGURATION,
    OK,
    Commands,
    add_command,
    add_common,
    complain,
    print_json,
    target_to_ask,
)
from appliance.ops.control.client import CommandFailedError, act

PATIENCE = 300.0
"""Seconds: thousands of sites are read, and orders that are given up withdraw their challenges."""

MISTAKES = 422
"""The status of an answer about mistakes in the file."""


def add(commands: Commands) -> None:
    """Put the command into the parser."""
    parser = add_command(
        commands,
        "reload",
        reload,
        "have the running service read its configuration anew",
        "  appliance reload\n  systemctl reload appliance           the same, with the answer in the journal\n",
    )
    add_common(parser)


def reload(options: argparse.Namespace) -> int:
    """Have the running service read its configuration file anew and change what is different, dropping nothing.

    When the file has mistakes, or something in it cannot be had, nothing is changed: the mistakes are printed as
    "appliance check" prints them.
    """
    folder = target_to_ask(options).state_dir  # mistakes are for the service to hear of as well
    try:
        answer = act(folder, "reload", PATIENCE)
    except CommandFailedError as error:
        if error.status == MISTAKES:
            return complain(options, error, BAD_CONFIGURATION)
        if not options.json:
            print("not reloaded:", file=sys.stderr, end=" ")
        raise
    if options.json:
        print_json(answer)
    else:
        print(f"{answer['file']}: reloaded: {answer['summary']}")
    return OK
