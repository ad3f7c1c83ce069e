"""The command that has the running service replaced by a new process: upgrade."""

from __future__ import annotations

import argparse

from appliance.ops.commands.terminal import (
    OK,
    Commands,
    add_command,
    add_common,
    print_json,
    target_to_ask,
)
from appliance.ops.control.client import act

_PATIENCE = 600.0
"""Seconds; the service itself gives up sooner."""


def add(commands: Commands) -> None:
    """Put this command into the parser."""
    parser = add_command(
        commands,
        "upgrade",
        upgrade,
        "have a new process take over, without a dropped connection",
        "  pip install --upgrade appliance && appliance upgrade\n",
    )
    add_common(parser)


def upgrade(options: argparse.Namespace) -> int:
    """Start what is installed now, with the command line of the running process, and have it take over.

    It gets the listening sockets, so nobody is refused. The old process finishes what it has begun: its WebSockets live
    on in it. If the new one cannot serve, the old one goes on, and this says why. Settings that a reload cannot
    apply are applied, too.
    """
    answer = act(target_to_ask(options).state_dir, "upgrade", _PATIENCE)
    if options.json:
        print_json(answer)
    else:
        print(f"process {answer['pid']} serves; process {answer['replaced']} finishes what it has begun")
    return OK
