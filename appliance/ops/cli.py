"""The ``appliance`` command: one function per subcommand, each with the exit status as its result."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance import __version__
from appliance.config import Site
from appliance.configfile import DEFAULT_FILE, load
from appliance.errors import ConfigurationError

OK = 0
BAD_CONFIGURATION = 2

EXAMPLES = """\
examples:
  appliance check                        the default file
  appliance check ./appliance.toml       every mistake at once, each with its key and line; exit status 2

The service itself is run by twist:
  twist appliance --config ./appliance.toml
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status; argparse itself exits with 2 on arguments it cannot read."""
    options = _parser().parse_args(arguments)
    status: int = options.command(options)
    return status


def check(options: argparse.Namespace) -> int:
    """Say whether a configuration can be used, and what its sites are; changes nothing on disk."""
    try:
        configuration = load(options.file)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIGURATION
    print(f"{options.file}: good, {len(configuration.sites)} site{'s' if len(configuration.sites) > 1 else ''}")
    for site in configuration.sites:
        print(f"  {_summary(site)}")
    return OK


def _summary(site: Site) -> str:
    """One line: the names, and where each path goes, as in ``a.example, b.example: / -> http://127.0.0.1:8000``."""
    routes = (f"{route.path} -> {' '.join(map(str, route.upstreams))}" for route in site.routes)
    return f"{', '.join(site.names)}: {'; '.join(routes)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="appliance",
        description="Tools for the appliance, which terminates TLS, proxies, and keeps certificates renewed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"appliance {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser("check", help="check a configuration file", description=check.__doc__)
    command.add_argument("file", nargs="?", type=Path, default=DEFAULT_FILE, help="default: %(default)s")
    command.set_defaults(command=check)

    return parser
