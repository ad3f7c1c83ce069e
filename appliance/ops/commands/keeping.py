"""Commands on what is kept: export a certificate, forget a site that is no more."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from appliance import atomicfile
from appliance.acme.decision import Stock, choose
from appliance.clock import utc_now
from appliance.errors import ApplianceError, StoreError
from appliance.ops.commands.terminal import (
    OK,
    Commands,
    Target,
    add_command,
    add_common,
    print_json,
    target,
    target_to_ask,
)
from appliance.ops.control.client import ask
from appliance.ops.deploy.export import CHAIN, COMBINED, KEY, export
from appliance.ops.status import offline


def add(commands: Commands) -> None:
    """Put these commands into the parser."""
    parser = add_command(
        commands,
        "export",
        export_certificate,
        "copy a certificate and its key for another program",
        "  appliance export mail.example.com --to /etc/dovecot/tls --group dovecot\n\n"
        "[site.export] in the configuration does the same after every renewal.\n",
    )
    parser.add_argument("name", metavar="NAME", help="a name that the certificate is for")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the folder for the copies")
    parser.add_argument("--group", help="who may read them beside their owner")
    add_common(parser)

    parser = add_command(
        commands,
        "forget",
        forget,
        "delete what is kept of a site that is no longer configured",
        "  appliance forget old.example.com       says what would be deleted\n"
        "  appliance forget old.example.com --yes\n",
    )
    parser.add_argument("name", metavar="NAME", help="the site's name, as its files are called")
    parser.add_argument("--yes", action="store_true", help="delete it")
    add_common(parser)


def export_certificate(options: argparse.Namespace) -> int:
    """Copy the newest certificate for a name, its chain and its key to a folder, for another program to read."""
    told = target_to_ask(options)
    stored = offline.read(told.state_dir).certificates
    certificate = choose((options.name,), Stock(stored.values()), utc_now())
    if certificate is None:
        raise StoreError(f"no valid certificate for {options.name} is kept in {told.state_dir}")
    export(certificate, options.to, options.group)
    files = [str(options.to / name) for name in (KEY, CHAIN, COMBINED)]
    if options.json:
        print_json({"files": files, "serial": f"{certificate.serial:x}"})
    else:
        print("\n".join(files))
    return OK


def forget(options: argparse.Namespace) -> int:
    """Delete certificate, key, renewal record and marks of a site that is gone from the configuration.

    Removing a site from the configuration alone keeps all of it, so that the site may come back. Accounts stay. The
    certificate stays valid wherever else it is; appliance revoke, before the removal, ends it.
    """
    told = target(options)
    atomicfile.check_name(options.name)
    _check_gone(told, options.name)
    files = _files_of(told.state_dir, options.name)
    if not files:
        raise StoreError(f"nothing is kept for {options.name} in {told.state_dir}")
    if options.yes:
        for path in files:
            _delete(path)
    if options.json:
        print_json({"deleted": options.yes, "files": [str(path) for path in files]})
    else:
        print("\n".join(f"{'deleted' if options.yes else 'would delete'} {path}" for path in files))
        if not options.yes:
            print("again with --yes to do it", file=sys.stderr)
    return OK


def _files_of(state_dir: Path, name: str) -> list[Path]:
    """Those that are there. Raises StoreError."""
    paths = (
        state_dir / "certificates" / f"{name}.pem",
        state_dir / "certificates" / f"{name}.pem.previous",
        state_dir / "renewal" / f"{name}.json",
        state_dir / "deployed" / f"{name}.txt",
    )
    try:
        return [path for path in paths if path.exists()]
    except OSError as error:
        advice = "run this as root or as the service's user"
        raise StoreError(f"cannot look into {state_dir}: {error.strerror}; {advice}") from error


def _check_gone(told: Target, name: str) -> None:
    """Neither configured nor served: what is in use is not taken away."""
    configured = {site.name for site in told.configuration.sites} if told.configuration is not None else set()
    try:
        served = {site["site"] for site in ask(told.state_dir, "status")["sites"]}
    except ApplianceError:
        served = set()
    if name in configured:
        raise ApplianceError(f"{name} is still configured: take its [[site]] out first, and reload")
    if name in served:
        raise ApplianceError(f"{name} is still served by the running appliance: reload or restart it first")


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot delete {path}: {error.strerror}") from error
