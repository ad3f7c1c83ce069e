"""The commands that take over from other ACME clients: import-certbot, import-caddy, import-acme.sh."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import asdict

from appliance.clock import utc_now
from appliance.errors import ApplianceError
from appliance.ops.commands.terminal import (
    FAILED,
    OK,
    Commands,
    Target,
    add_command,
    add_common,
    print_json,
    target,
)
from appliance.ops.control.client import ask
from appliance.ops.imports import acmesh, caddy, certbot
from appliance.ops.imports.found import Found
from appliance.ops.imports.takeover import Taken, take_over


def add(commands: Commands) -> None:
    """Put these commands into the parser."""
    for name, function, client, defaults in (
        ("import-certbot", import_certbot, "certbot", certbot.DEFAULTS),
        ("import-caddy", import_caddy, "Caddy", caddy.DEFAULTS),
        ("import-acme.sh", import_acmesh, "acme.sh", acmesh.DEFAULTS),
    ):
        folders = " or ".join(map(str, defaults))
        parser = add_command(
            commands,
            name,
            function,
            f"take over {client}'s certificates and accounts",
            f"  appliance {name}                     from {folders}\n"
            f"  appliance {name} FOLDER --dry-run    only say what would be taken\n",
        )
        parser.add_argument("folder", nargs="?", type=Path, help=f"default: {folders}")
        parser.add_argument("--dry-run", action="store_true", help="change nothing")
        parser.add_argument("--force", action="store_true", help="replace what is there already")
        add_common(parser)


def import_certbot(options: argparse.Namespace) -> int:
    """Take over certbot's certificates and accounts, so that they are served and renewed here.

    Certbot's own files stay as they are. Run it as root before the first start, or restart the service after it.
    """
    return _import(options, certbot.read_certbot, certbot.DEFAULTS)


def import_caddy(options: argparse.Namespace) -> int:
    """Take over certificates and accounts from Caddy's storage folder, which stays as it is."""
    return _import(options, caddy.read_caddy, caddy.DEFAULTS)


def import_acmesh(options: argparse.Namespace) -> int:
    """Take over acme.sh's certificates and accounts; its own files stay as they are."""
    return _import(options, acmesh.read_acmesh, acmesh.DEFAULTS)


def _import(options: argparse.Namespace, read: Callable[[Path], Found], defaults: Sequence[Path]) -> int:
    told = target(options)
    found = read(_folder([options.folder] if options.folder is not None else defaults))
    taken = [] if options.dry_run else _take(options, told, found)
    hints = [*found.hints, *_what_next(told, found)]
    if options.json:
        print_json({"taken": [asdict(each) for each in taken], "hints": hints, "complaints": found.complaints})
    else:
        _tell(found, taken, hints, options.dry_run)
    return FAILED if found.complaints and not any(each.taken for each in taken) else OK


def _take(options: argparse.Namespace, told: Target, found: Found) -> list[Taken]:
    sites = told.configuration.sites if told.configuration is not None else ()
    email = told.configuration.acme.email if told.configuration is not None else None
    contact = (f"mailto:{email}",) if email else ()
    return take_over(found, told.state_dir, sites, contact, utc_now(), force=options.force)


def _what_next(told: Target, found: Found) -> list[str]:
    """Names that no site is configured for, and a service that has to be told."""
    configured = {name for site in told.configuration.sites for name in site.names} if told.configuration else set()
    hints = []
    for each in found.certificates:
        missing = sorted(each.certificate.names - configured)
        if missing:
            names = ", ".join(f'"{name}"' for name in missing)
            hints.append(f'not served until there is a site: [[site]] names = [{names}], upstream = "http://…"')
    try:
        ask(told.state_dir, "status")
        hints.append("an appliance is running: restart it to have it read what was imported")
    except ApplianceError:
        pass
    return hints


def _tell(found: Found, taken: Sequence[Taken], hints: Sequence[str], dry_run: bool) -> None:
    if dry_run:
        for certificate in found.certificates:
            names = ", ".join(sorted(certificate.certificate.names))
            print(f"certificate for {names}, valid until {certificate.certificate.not_after:%Y-%m-%d}")
        for account in found.accounts:
            print(f"account at {account.directory}")
    for each in taken:
        print(f"{'taken' if each.taken else 'left'}: {each.what}: {each.why}")
    for hint in hints:
        print(f"note: {hint}")
    for complaint in found.complaints:
        print(complaint, file=sys.stderr)


def _folder(folders: Sequence[Path]) -> Path:
    """The first that is there, else the first. A ``~`` that leads nowhere stays as it is."""
    expanded = [Path(os.path.expanduser(folder)) for folder in folders]
    return next((folder for folder in expanded if os.path.isdir(folder)), expanded[0])
