"""The command for the maintenance switch."""

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


def add(commands: Commands) -> None:
    """Put this command into the parser."""
    parser = add_command(
        commands,
        "maintenance",
        switch,
        "answer a site's requests with a 503 page, or no longer",
        "  appliance maintenance on example.com\n  appliance maintenance off example.com\n",
    )
    parser.add_argument("state", choices=("on", "off"), help="whether it is to be in maintenance")
    parser.add_argument("name", metavar="NAME", help="the site")
    add_common(parser)


def switch(options: argparse.Namespace) -> int:
    """Put a site of the running service into maintenance, or back, without a restart.

    The switch stays as it was put when the service is restarted. Challenges of CAs go on being answered.
    """
    answer = act(target_to_ask(options).state_dir, "maintenance", site=options.name, on=options.state == "on")
    if options.json:
        print_json(answer)
    elif answer["maintenance"]:
        print(f"{answer['site']}: in maintenance, its requests are answered with 503")
    else:
        print(f"{answer['site']}: served again")
    return OK
