"""The ``appliance`` command: one function per subcommand, each with the exit status as its result."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import asdict

from appliance import __version__
from appliance.config import NO_SITE, Site
from appliance.config.file import DEFAULT_FILE, load
from appliance.errors import ApplianceError, ConfigurationError
from appliance.ops.commands import (
    authorities,
    checkapp,
    doctor,
    hashing,
    importing,
    init,
    keeping,
    listing,
    logs,
    maintenance,
    reload,
    running,
    upgrade,
)
from appliance.ops.commands.terminal import (
    BAD_CONFIGURATION,
    EXIT_STATUS,
    FAILED,
    NOT_RUNNING,
    OK,
    add_command,
    add_json,
    complain,
    print_json,
)
from appliance.ops.control.client import NotRunningError

EXAMPLES = f"""\
examples:
  sudo appliance init                    three questions, and a configuration that works
  appliance check ./appliance.toml       every mistake at once, each with its key and line
  appliance status                       every site: certificate, next renewal, what went wrong
  appliance status --watch               the same, as it happens
  appliance sites                        how the applications do
  appliance certs                        every certificate
  appliance logs --site example.com -f   its requests, and what the service says of it
  appliance reload                       read the configuration anew, dropping nothing
  appliance renew example.com            order now what has failed or is due
  appliance doctor example.com           why it fails: DNS, ports, the challenge, CAA, the CA, the clock
  appliance check-app http://127.0.0.1:8000 --host example.com      what its application server is not told
  appliance import-certbot               take over certificates and accounts

The service itself is run by twist:
  twist appliance --config ./appliance.toml

{EXIT_STATUS}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status; argparse itself exits with 2 on arguments it cannot read."""
    try:
        try:
            return _run(parser().parse_args(arguments))
        finally:
            print(end="", flush=True)
    except OSError as error:  # of the output itself: nobody reads on, as after "| head", or there is no room for it
        _forget_output()
        if not isinstance(error, BrokenPipeError):
            print(f"cannot print: {error.strerror}", file=sys.stderr)
        return FAILED


def _forget_output() -> None:
    """Have nothing printed at the end of the process either, where Python would try it again."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _run(options: argparse.Namespace) -> int:
    """What subcommands raise is told here, so each has only what it can do about an error."""
    try:
        status: int = options.command(options)
    except ConfigurationError as error:
        if getattr(options, "json", False):
            mistakes = [asdict(mistake) for mistake in error.mistakes]
            print_json({"error": str(error), "status": BAD_CONFIGURATION, "mistakes": mistakes})
        else:
            print(error, file=sys.stderr)
        return BAD_CONFIGURATION
    except NotRunningError as error:
        return complain(options, error, NOT_RUNNING)
    except ApplianceError as error:
        return complain(options, error, FAILED)
    except BrokenPipeError:
        raise
    except OSError as error:  # what no command has words of its own for
        about = ("could not be done", error.filename, error.strerror or error)
        return complain(options, ApplianceError(": ".join(str(each) for each in about if each)), FAILED)
    except KeyboardInterrupt:
        return FAILED
    return status


EACH_WORKER = (
    "limits, rate_limit, max_connections and health checks are each process's own,"
    " and TLS sessions resume only where they began"
)
"""What processes do not share."""


def check(options: argparse.Namespace) -> int:
    """Say whether a configuration can be used, and what its sites are; changes nothing on disk."""
    configuration = load(options.file)
    if options.json:
        print_json({"file": str(options.file), "sites": [_plain(site) for site in configuration.sites]})
        return OK
    if not configuration.sites:
        print(f"{options.file}: good, but {NO_SITE.format(file=options.file)}")
        return OK
    print(f"{options.file}: good, {len(configuration.sites)} site{'s' if len(configuration.sites) > 1 else ''}")
    for site in configuration.sites:
        print(f"  {_summary(site)}")
    if configuration.workers > 1:
        print(f"workers = {configuration.workers}: {EACH_WORKER}")
    return OK


def _plain(site: Site) -> dict[str, object]:
    routes = [
        {"path": route.path, "upstreams": list(map(str, route.upstreams)), "answer": route.answer}
        for route in site.routes
    ]
    return {"site": site.name, "names": site.names, "routes": routes}


def _summary(site: Site) -> str:
    """One line: the names, and where each path goes, as in ``a.example, b.example: / -> http://127.0.0.1:8000``."""
    routes = (f"{route.path} -> {route.answer}" for route in site.routes)
    return f"{', '.join(site.names)}: {'; '.join(routes)}"


def parser() -> argparse.ArgumentParser:
    """What the command understands; manual page and completion are made from it, too."""
    parser = argparse.ArgumentParser(
        prog="appliance",
        description="Tools for the appliance, which terminates TLS, proxies, and keeps certificates renewed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"appliance {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = add_command(
        commands, "check", check, "check a configuration file", "  appliance check ./appliance.toml\n"
    )
    command.add_argument("file", nargs="?", type=Path, default=DEFAULT_FILE, help="default: %(default)s")
    add_json(command)
    init.add(commands)
    running.add(commands)
    reload.add(commands)
    upgrade.add(commands)
    listing.add(commands)
    logs.add(commands)
    doctor.add(commands)
    authorities.add(commands)
    keeping.add(commands)
    checkapp.add(commands)
    importing.add(commands)
    hashing.add(commands)
    maintenance.add(commands)
    return parser
