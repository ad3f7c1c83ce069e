"""The command ``appliance doctor``."""

from __future__ import annotations

import argparse

from attrs import asdict

from appliance.config import Acme, CertificateAuthority
from appliance.errors import ApplianceError
from appliance.ops.commands.terminal import (
    BAD_CONFIGURATION,
    FAILED,
    OK,
    Commands,
    Target,
    add_command,
    add_common,
    complain,
    console,
    print_json,
    target_to_ask,
)
from appliance.ops.control.client import act, ask
from appliance.ops.diagnosis.dnslookup import make_resolver
from appliance.ops.diagnosis.doctor import Patient, Probe, examine
from appliance.ops.diagnosis.findings import show, worst_is_bad
from appliance.ops.status import table
from appliance.ops.status.document import Document


def add(commands: Commands) -> None:
    """Put the command into the parser."""
    parser = add_command(
        commands,
        "doctor",
        doctor,
        "look for what keeps a name from being certified",
        "  appliance doctor example.com                      a site with all its names, or one name\n"
        "  appliance doctor new.example.com                  also before it is configured\n"
        "  appliance doctor example.com --resolver 9.9.9.9   as DNS looks from elsewhere\n",
    )
    parser.add_argument("name", metavar="NAME", help="a site, or any name")
    parser.add_argument("--resolver", metavar="HOST[:PORT]", help="the DNS server to ask (default: the system's)")
    parser.add_argument("--http-port", type=int, default=80, help="where the CA comes in (default: %(default)s)")
    parser.add_argument("--https-port", type=int, default=443, help="where clients come in (default: %(default)s)")
    add_common(parser)


def doctor(options: argparse.Namespace) -> int:
    """Look at a name as a CA would: DNS, ports, our challenge, CAA, the CA, the clock; and advise.

    Seen from this machine things may look otherwise than from outside, so it advises and blocks nothing.
    """
    told = target_to_ask(options)
    try:
        resolver = make_resolver(options.resolver)
    except ValueError as error:
        return complain(options, ApplianceError(f"--resolver: {error}"), BAD_CONFIGURATION)
    status = _status(told)
    site = table.find(status, options.name) if status is not None else None
    authority = _authority(told)
    patient = Patient(
        names=_names(told, site, options.name),
        directory=authority.directory,
        ca_file=authority.ca_file,
        probe=_probe(told) if status is not None else None,
        certificate_serial=site["certificate"]["serial"] if site is not None and site["certificate"] else None,
        http_port=options.http_port,
        https_port=options.https_port,
        resolver=resolver,
        dns_only=_by_dns(told, options.name),
    )
    findings = examine(patient)
    troubles = table.troubles(site) if site is not None else []
    if options.json:
        print_json({"findings": [asdict(finding) for finding in findings], "troubles": troubles})
    else:
        show(findings, console())
        for line in troubles:
            console().print(f"{options.name}: {line}")
    return FAILED if worst_is_bad(findings) else OK


def _names(told: Target, served: Document | None, name: str) -> tuple[str, ...]:
    """All names of a site that is called so, else the name itself."""
    sites = told.configuration.sites if told.configuration is not None else ()
    others = tuple(served["names"]) if served is not None and served["site"] == name else (name,)
    return next((site.names for site in sites if site.name == name), others)


def _by_dns(told: Target, name: str) -> bool:
    """Whether the site of that name proves itself by DNS-01 alone."""
    sites = told.configuration.sites if told.configuration is not None else ()
    return any(site.challenge == "dns-01" for site in sites if name in site.names)


def _authority(told: Target) -> CertificateAuthority:
    acme = told.configuration.acme if told.configuration is not None else Acme()
    return acme.authorities[0]


def _status(told: Target) -> Document | None:
    try:
        return ask(told.state_dir, "status")
    except ApplianceError:
        return None


def _probe(told: Target) -> Probe | None:
    try:
        presented = act(told.state_dir, "probe")
        return Probe(presented["path"], presented["answer"])
    except (ApplianceError, KeyError):
        return None
