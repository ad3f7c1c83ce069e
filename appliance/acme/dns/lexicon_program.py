"""One change by dns-lexicon, described by JSON on standard input: a program, which imports nothing of the appliance."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import Any

import dns.nameserver
import dns.resolver
from lexicon.client import Client
from lexicon.config import ConfigResolver

COMMON = ("ttl",)
"""Options that are lexicon's own, and not the DNS service's."""


def configuration(task: dict[str, Any]) -> ConfigResolver:
    """For lexicon: our options first, then its environment variables."""
    options = task["options"]
    ours = {
        "provider_name": task["provider"],
        "domain": task["name"],
        "resolve_zone_name": True,  # else it guesses from the public suffix list, which it fetches
        task["provider"]: {key: value for key, value in options.items() if key not in COMMON},
        **{key: options[key] for key in COMMON if key in options},
    }
    resolver = ConfigResolver()  # type: ignore[no-untyped-call]
    return resolver.with_dict(ours).with_env()


def main() -> str | None:
    """Do it; what went wrong, in a line, or None."""
    logging.disable()
    warnings.simplefilter("ignore")
    task = json.load(sys.stdin)
    if task["resolvers"]:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in task["resolvers"]]
        dns.resolver.default_resolver = resolver
    try:
        with Client(configuration(task)) as operations:
            change = operations.create_record if task["action"] == "create" else operations.delete_record
            done = change(rtype="TXT", name=task["name"], content=task["value"])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if done else "it says it has not done it, and not why"


if __name__ == "__main__":
    sys.exit(main())
