"""The command ``appliance init``: three questions, a look at DNS and ports, a configuration that works."""

from __future__ import annotations

import argparse
import errno
import os
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from attrs import asdict, evolve
from dns.resolver import Resolver

from appliance.commandline import CommandLine
from appliance.config import Configuration, UpstreamAddress
from appliance.config.file import DEFAULT_FILE, load
from appliance.errors import ApplianceError, ConfigurationError
from appliance.ops.commands import firstconfig
from appliance.ops.commands.firstconfig import Answers
from appliance.ops.commands.terminal import (
    BAD_CONFIGURATION,
    OK,
    Commands,
    add_command,
    add_json,
    complain,
    console,
    print_json,
)
from appliance.ops.control.client import ask
from appliance.ops.diagnosis.dnslookup import make_resolver
from appliance.ops.diagnosis.doctor import Patient, examine
from appliance.ops.diagnosis.findings import BAD, GOOD, WARNING, Finding, show

PATIENCE = 15.0
"""Seconds for looking around."""
TRIES = 5
"""So often is a question asked."""

_SITE = "The site's name, or names with commas between: "
_UPSTREAM = "Where your application listens (8000, http://127.0.0.1:8000 or /run/app.sock): "
_EMAIL = "Your e-mail address for Let's Encrypt (giving it agrees to its terms of service): "
_EMAIL_ELSEWHERE = "Your e-mail address for the CA (giving it agrees to its terms of service): "

_UNITS = ("/etc/systemd/system/appliance.service", "/lib/systemd/system/appliance.service")
_PORT = re.compile(r"tcp6?:(?:port=)?([0-9]+)")


def add(commands: Commands) -> None:
    """Put the command into the parser."""
    parser = add_command(
        commands,
        "init",
        init,
        "ask three questions, look at DNS and ports, and write a configuration",
        "  sudo appliance init\n"
        "  sudo appliance init --site example.com,www.example.com --upstream 8000 --email you@example.com\n"
        "  appliance init --config ./appliance.toml --state-dir ./state --http tcp:8080 --https tcp:8443\n",
    )
    parser.add_argument("--site", metavar="NAME[,NAME...]", help="the first question's answer")
    parser.add_argument("--upstream", metavar="ADDRESS", help="the second one's")
    parser.add_argument("--email", metavar="ADDRESS", help="the third one's; giving it agrees to the CA's terms")
    parser.add_argument(
        "--config", "-c", type=Path, default=DEFAULT_FILE, metavar="FILE", help="what to write (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there; it is kept beside")
    parser.add_argument("--no-check", action="store_true", help="do not look at DNS and ports")
    parser.add_argument("--resolver", metavar="HOST[:PORT]", help="the DNS server to ask (default: the system's)")
    parser.add_argument("--state-dir", metavar="DIR", help="default: /var/lib/appliance")
    parser.add_argument("--http", action="append", metavar="ENDPOINT", help="default: tcp:80")
    parser.add_argument("--https", action="append", metavar="ENDPOINT", help="default: tcp:443")
    parser.add_argument("--directory", metavar="URL", help="the CA's ACME directory (default: Let's Encrypt's)")
    parser.add_argument("--ca-file", metavar="FILE", help="trust for the directory's own TLS")
    add_json(parser)


def init(options: argparse.Namespace) -> int:
    """Ask for the site's name, the application's address and an e-mail address, unless they are given as options; look
    at DNS and ports as a CA would find them; and write a configuration with which the appliance runs.

    What is found does not keep the file from being written: it says what to do before the start. A file that is there
    already is left alone without --force, unless it names no site.
    """
    firstconfig.check_kind(options.config)
    replace = options.force or _names_no_site(options.config)
    if os.path.lexists(options.config) and not replace:
        raise firstconfig.in_the_way(options.config)
    try:
        resolver = None if options.no_check else make_resolver(options.resolver)
    except ValueError as error:
        return complain(options, ApplianceError(f"--resolver: {error}"), BAD_CONFIGURATION)
    answers = _ask_all(options)
    configuration = _configuration(answers)
    findings = [] if resolver is None else _look(configuration, resolver, options.json)
    kept = firstconfig.write(options.config.absolute(), firstconfig.text(answers), replace)
    steps = _next(options.config, _runs(configuration.state_dir))
    if options.json:
        print_json(
            {
                "file": str(options.config),
                "kept": str(kept) if kept is not None else None,
                "findings": [asdict(finding) for finding in findings],
                "next": steps,
            }
        )
        return OK
    if kept is not None:
        print(f"{kept} is what was there before.")
    print(f"\n{options.config} is written. Next:")
    for step in steps:
        print(f"  {step}")
    return OK


# The questions.


def _ask_all(options: argparse.Namespace) -> Answers:
    """Raises ConfigurationError for options, ApplianceError for answers that never were any good."""
    missing = [f"--{name}" for name in ("site", "upstream", "email") if getattr(options, name) is None]
    if missing and not sys.stdin.isatty():
        raise ApplianceError(f"there is nobody to ask on this terminal: give {', '.join(missing)}")
    fixed = Answers(
        (),
        "",
        "",
        options.directory,
        _absolute(options.ca_file),
        _absolute(options.state_dir),
        tuple(options.http or ()),
        tuple(options.https or ()),
    )

    def names(answer: str) -> tuple[str, ...]:
        return tuple(filter(None, (name.strip() for name in answer.split(","))))

    def trial(site: str, address: str, email: str) -> Answers:
        return evolve(fixed, names=names(site), upstream=firstconfig.upstream(address), email=email.strip())

    site = options.site or _ask(_SITE, lambda answer: trial(answer, "8000", "a@b.example"))
    address = options.upstream or _ask(_UPSTREAM, lambda answer: trial(site, answer, "a@b.example"))
    wording = _EMAIL if options.directory is None else _EMAIL_ELSEWHERE
    email = options.email or _ask(wording, lambda answer: trial(site, address, answer))
    return trial(site, address, email)


def _ask(question: str, trial: Callable[[str], Answers]) -> str:
    """An answer with which there would be no mistake. Raises ApplianceError after too many others."""
    for _ in range(TRIES):
        print(question, end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            break
        try:
            if answer.strip():
                _configuration(trial(answer.strip()))
                return answer.strip()
        except ConfigurationError as error:
            for mistake in error.mistakes:
                print(f"  {mistake.message}", file=sys.stderr)
    raise ApplianceError("no answer of use was given; nothing was written")


def _configuration(answers: Answers) -> Configuration:
    """What the answers come to. Raises ConfigurationError."""
    return CommandLine(
        site=[f"{','.join(answers.names)}={answers.upstream}"],
        http=answers.http,
        https=answers.https,
        state_dir=answers.state_dir,
        directory=answers.directory,
        email=answers.email,
        ca_file=answers.ca_file,
    ).configuration()


def _absolute(name: str | None) -> str | None:
    return str(Path(name).absolute()) if name else name


# What is looked at.


def _look(configuration: Configuration, resolver: Resolver, quiet: bool) -> list[Finding]:
    site = configuration.sites[0]
    http, https = _ports(configuration.listen.http), _ports(configuration.listen.https)
    acme = configuration.acme
    patient = Patient(
        names=site.names,
        directory=acme.directory,
        ca_file=acme.ca_file,
        http_port=(http or [80])[0],
        https_port=(https or [443])[0],
        resolver=resolver,
    )
    if not quiet:
        print("Looking at DNS and ports ...", file=sys.stderr, flush=True)
    ports = [] if _runs(configuration.state_dir) else [*http, *https]  # else it is the appliance that has them
    found = [look_at_port(port) for port in ports]
    found += [look_at_application(address) for address in site.routes[0].upstreams]
    found += [finding for finding in examine(patient, PATIENCE) if not finding.check.startswith("port ")]
    if not quiet:
        show(found, console())
    return found


def _ports(endpoints: tuple[str, ...]) -> list[int]:
    matches = (_PORT.match(endpoint) for endpoint in endpoints)
    return [int(match[1]) for match in matches if match is not None]


def look_at_port(port: int) -> Finding:
    """Whether we could listen there."""
    what = f"port {port}"
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        with socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6):
            return Finding("", what, GOOD, "is free")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = f"Stop what listens there (ss -ltnp 'sport = :{port}' says what): nginx, Apache or Caddy, perhaps."
            return Finding("", what, BAD, "is taken by another program", advice)
        if error.errno == errno.EACCES:
            advice = "Run the appliance by its systemd unit, or as root: others may not listen below 1024."
            return Finding("", what, WARNING, "may not be listened on by this user", advice)
        return Finding("", what, WARNING, f"cannot be listened on: {error.strerror}")


def look_at_application(address: UpstreamAddress) -> Finding:
    """Whether something listens there."""
    try:
        if address.path:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(2)
                client.connect(address.path)
        else:
            socket.create_connection((address.host, address.port), timeout=2).close()
    except OSError as error:
        advice = "Start it before or after the appliance; until then its visitors get an error page."
        return Finding("", "application", WARNING, f"{address}: {error.strerror or 'no answer'}", advice)
    return Finding("", "application", GOOD, f"{address} accepts connections")


def _runs(state_dir: Path) -> bool:
    """Whether an appliance does, as it does without a site where a package has started it."""
    try:
        ask(state_dir, "status")
    except ApplianceError:
        return False
    return True


def _names_no_site(path: Path) -> bool:
    """Whether it is a good configuration, but for having no sites yet."""
    try:
        return not load(path).sites
    except ApplianceError:
        return False


def _next(path: Path, running: bool) -> list[str]:
    unit = any(map(os.path.exists, _UNITS))
    run = f"twist appliance --config {path}"
    start = "systemctl enable --now appliance" if unit and path == DEFAULT_FILE else run
    return [
        f"appliance reload --config {path}" if running else start,
        f"appliance status --watch --config {path}      the first certificate, step by step",
        f"appliance doctor NAME --config {path}         if it does not come",
    ]
