"""Commands that ask the running service: status, renew, rollback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import datetime

from appliance.clock import utc_now
from appliance.ops.alarm.concern import concern
from appliance.ops.commands import following
from appliance.ops.commands.terminal import (
    FAILED,
    NOT_RUNNING,
    OK,
    Commands,
    Target,
    add_command,
    add_common,
    console,
    print_json,
    target_to_ask,
)
from appliance.ops.control.client import NotRunningError, act, ask
from appliance.ops.status import offline, table
from appliance.ops.status.document import Address, AfterSwap, Document, Extra, document

ORDER_PATIENCE = 1200.0
"""Seconds to wait for an order; the service itself gives one up sooner."""


def add(commands: Commands) -> None:
    """Put these commands into the parser."""
    parser = add_command(
        commands,
        "status",
        status,
        "where every site stands",
        "  appliance status                       all sites in a table\n"
        "  appliance status example.com           one site, everything\n"
        "  appliance status --watch               as it happens: a first certificate being ordered, for one\n"
        "  appliance status --json | jq '.sites[].certificate.not_after'\n",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one site: its name, or any name it is asked for by")
    parser.add_argument("--watch", "-w", action="store_true", help="go on until interrupted; orders tell every step")
    add_common(parser)

    parser = add_command(
        commands,
        "renew",
        renew,
        "order a site's certificate now",
        "  appliance renew example.com            now, if it is due or has failed\n"
        "  appliance renew example.com --force    now, though it is not due: it counts against the CA's limits\n",
    )
    parser.add_argument("name", metavar="NAME", help="the site")
    parser.add_argument("--force", action="store_true", help="also when it is not due yet")
    add_common(parser)

    parser = add_command(
        commands,
        "rollback",
        rollback,
        "serve a site's previous certificate again",
        "  appliance rollback example.com\n",
    )
    parser.add_argument("name", metavar="NAME", help="the site")
    add_common(parser)


def status(options: argparse.Namespace) -> int:
    """Show each site's certificate, when and why it is renewed next, and what went wrong last.

    Without a running service it shows what is stored, and exits with 3.
    """
    told = target_to_ask(options)

    def look() -> Document:
        found = current_status(told)
        return found if options.name is None else {**found, "sites": [table.one(found, options.name)]}

    if options.watch and not options.json:
        return _watch(look)
    found = look()
    if options.json:
        print_json(found)
    elif options.name is not None:
        table.show_site(found, options.name, console())
    else:
        table.show(found, console())
    return OK if found["running"] else NOT_RUNNING


def _watch(look: Callable[[], Document]) -> int:
    try:
        following.watch(look, table.view, console())
    except KeyboardInterrupt:
        return OK


def current_status(told: Target) -> Document:
    """What the running service says; what is stored if there is none. Raises ApplianceError."""
    try:
        return ask(told.state_dir, "status")
    except NotRunningError:
        return stored_status(told, utc_now())


def stored_status(told: Target, now: datetime) -> Document:
    """What the folder tells of a service that does not run. Raises StoreError."""
    stored = offline.read(told.state_dir)
    sites = told.configuration.sites if told.configuration is not None else offline.sites_by_folder(stored)
    reports = offline.reports(stored, sites, now)
    concerns = {report.site: concern(report, AfterSwap(), now) for report in reports}
    addresses = {
        site.name: [Address(route.path, str(address)) for route in site.routes for address in route.upstreams]
        for site in sites
    }
    return document(
        reports,
        now,
        running=False,
        extras={
            site: Extra(addresses[site], alarm=found.text if found is not None else "")
            for site, found in concerns.items()
        },
        state_dir=str(told.state_dir),
        complaints=list(stored.complaints),
    )


def renew(options: argparse.Namespace) -> int:
    """Have the running service order a certificate for one site, and wait for what comes of it.

    Its steps are told on standard error as they happen. It keeps to the limits of the CA, and goes on when this
    command is interrupted.
    """
    return _act_on_site(options, "renew", force=options.force)


def rollback(options: argparse.Namespace) -> int:
    """Have the running service serve a site's previous certificate again, if that is still valid."""
    return _act_on_site(options, "rollback")


def _act_on_site(options: argparse.Namespace, command: str, **arguments: object) -> int:
    folder = target_to_ask(options).state_dir

    def call() -> Document:
        return act(folder, command, ORDER_PATIENCE, site=options.name, **arguments)

    try:
        answer = call() if options.json else following.act_and_tell(folder, options.name, call)
    except KeyboardInterrupt:
        print(f"{options.name}: goes on in the service; see: appliance status {options.name}", file=sys.stderr)
        return FAILED
    return _tell_site(options, answer["site"])


def _tell_site(options: argparse.Namespace, site: Document) -> int:
    failed = bool(site["problem"] and site["problem"]["message"])
    if options.json:
        print_json(site)
    elif failed:
        print(f"{site['site']}: {site['problem']['message']}", file=sys.stderr)
    else:
        certificate = site["certificate"]
        print(f"{site['site']}: serves {certificate['serial']}, valid until {certificate['not_after']}")
    return FAILED if failed else OK
