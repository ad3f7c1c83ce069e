"""Commands that have the running service talk to CAs: rehearse, revoke, account."""

from __future__ import annotations

import argparse
import json
from typing import Any

from appliance.acme.accountops import REASONS
from appliance.errors import ApplianceError
from appliance.ops.commands.running import ORDER_PATIENCE
from appliance.ops.commands.terminal import (
    FAILED,
    OK,
    Commands,
    add_command,
    add_common,
    print_json,
    target_to_ask,
)
from appliance.ops.control.client import NotRunningError, act, ask


def add(commands: Commands) -> None:
    """Put these commands into the parser."""
    parser = add_command(
        commands,
        "rehearse",
        rehearse,
        "try a whole issuance without consequences",
        "  appliance rehearse                         every site, at a CA inside the service\n"
        "  appliance rehearse example.com --staging   then at the CA's staging directory\n",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one site (default: all)")
    parser.add_argument("--staging", action="store_true", help="also at the CA's staging directory")
    parser.add_argument("--only-staging", action="store_true", help="only there")
    add_common(parser)

    parser = add_command(
        commands,
        "revoke",
        revoke,
        "replace a site's certificate and revoke the old one",
        "  appliance revoke example.com --reason keyCompromise\n",
    )
    parser.add_argument("name", metavar="NAME", help="the site")
    parser.add_argument("--reason", choices=tuple(REASONS), default="unspecified", help="default: %(default)s")
    parser.add_argument("--now", action="store_true", help="revoke first, whether or not there is a new one then")
    add_common(parser)

    parser = add_command(
        commands,
        "account",
        account,
        "show the accounts at CAs, or give one a new key",
        "  appliance account\n  appliance account --rollover\n\n"
        "Another contact: change acme.email and reload; the CA is told before the next order.\n",
    )
    parser.add_argument("--rollover", nargs="?", const="", metavar="CA", help="a new key for the account at CA")
    add_common(parser)


def rehearse(options: argparse.Namespace) -> int:
    """Have the running service obtain a certificate from a CA inside it, by its own listeners, and throw it away.

    With --staging then from the CA's staging directory, which comes from outside and so proves DNS and firewalls too.
    """
    folder = target_to_ask(options).state_dir
    names = [options.name] if options.name else [site["site"] for site in ask(folder, "status")["sites"]]
    results: list[dict[str, Any]] = []
    for name in names:
        flags = {"staging": options.staging, "only_staging": options.only_staging}
        try:
            results.append(act(folder, "rehearse", ORDER_PATIENCE, site=name, **flags))
        except NotRunningError:
            raise
        except ApplianceError as error:
            results.append({"site": name, "error": str(error)})
    if options.json:
        print_json({"rehearsals": results})
    else:
        for result in results:
            where = [word for word in ("here", "staging") if result.get(word)]
            print(f"{result['site']}: {result.get('error') or 'would be certified (' + ' and '.join(where) + ')'}")
    return FAILED if any("error" in result for result in results) else OK


def revoke(options: argparse.Namespace) -> int:
    """Have the running service order a new certificate for a site, serve it, and revoke the old one."""
    return _tell(options, "revoke", site=options.name, reason=options.reason, now=options.now)


def account(options: argparse.Namespace) -> int:
    """Show the accounts that the running service has at CAs; with --rollover, give one a new key."""
    if options.rollover is None:
        return _tell(options, "accounts")
    return _tell(options, "rollover", **({"ca": options.rollover} if options.rollover else {}))


def _tell(options: argparse.Namespace, command: str, **arguments: object) -> int:
    answer = act(target_to_ask(options).state_dir, command, ORDER_PATIENCE, **arguments)
    if options.json:
        print_json(answer)
    elif command == "revoke":
        print(f"{answer['site']}: {answer['revoked']} is revoked; {answer['serves']} is served")
    elif command == "rollover":
        print(f"{answer['ca']}: {answer['account']} has a new key")
    else:
        for each in answer["accounts"]:
            details = json.loads(each["details"] or "{}")
            print(f"{each['ca']}: {details.get('url', 'not registered yet')} {' '.join(details.get('contact', []))}")
            print(f"  directory {each['directory']}\n  key {each['file']}")
    return OK
