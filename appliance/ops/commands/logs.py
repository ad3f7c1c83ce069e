"""The command ``appliance logs``: the access log's lines, and what the service has told the journal."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from attrs import frozen
from rich.console import Console
from rich.text import Text

from appliance.config import Configuration
from appliance.config.file import may_be_there
from appliance.errors import ApplianceError
from appliance.ops.commands.tail import Follower, last_lines
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
    printable,
    target,
)
from appliance.ops.log.journal import IDENTIFIER
from appliance.ops.status.table import duration

LINES = 20
INTERVAL = 0.25
"""Seconds between two looks for new lines."""

_JOURNALCTL = "journalctl"

P = ParamSpec("P")
T = TypeVar("T")


def add(commands: Commands) -> None:
    """Put the command into the parser."""
    parser = add_command(
        commands,
        "logs",
        logs,
        "requests, and what the service says",
        "  appliance logs                             the last lines of the service's log and of the access log\n"
        "  appliance logs --site example.com -f       one site's, as they come\n"
        "  appliance logs --access -n 1000 --json | jq 'select(.status >= 500)'\n",
    )
    parser.add_argument("--site", metavar="NAME", help="only what is about this site: by any of its names")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with lines as they come")
    parser.add_argument("--lines", "-n", type=_count, default=LINES, metavar="N", help="so many (default: %(default)s)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--access", action="store_true", help="only the access log")
    only.add_argument("--service", action="store_true", help="only the service's own log")
    add_common(parser)


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 100_000:
        raise argparse.ArgumentTypeError("must be from 0 to 100000")
    return number


def logs(options: argparse.Namespace) -> int:
    """Show the last lines of the access log, from the file that the configuration names, and of the service's own log,
    from the journal. What of the two is not to be had is said on standard error.

    --json prints the lines as they are kept, one JSON object each; only an access log of that format has such lines.
    """
    told = target(options)
    if told.configuration is None:
        error = ApplianceError("only the configuration says where the logs are: name it with --config")
        return complain(options, error, BAD_CONFIGURATION)
    site = _site(told, options.site)
    absent: list[str] = []
    access = None if options.service else _found(absent, _access, options, told.configuration)
    service = None if options.access else _found(absent, _service, options, told.configuration, site)
    if access is None and service is None:
        return complain(options, ApplianceError("\n".join(absent)), FAILED)
    for why in absent:
        _say(why)
    return _run(options, access, service, site)


class _AbsentError(ApplianceError):
    """Why a log is not to be had."""


def _found(absent: list[str], look: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T | None:
    """What there is to read; None if there is nothing, and then ``absent`` has why."""
    try:
        return look(*arguments, **more)
    except _AbsentError as error:
        absent.append(str(error))
        return None


def _site(told: Target, name: str | None) -> str | None:
    """The site's own name. Raises ApplianceError."""
    if name is None:
        return None
    sites = told.configuration.sites if told.configuration is not None else ()
    for site in sites:
        if name in site.names:
            return site.name
    raise ApplianceError(f"{name} is no site here; the sites are {', '.join(site.name for site in sites)}")


def _access(options: argparse.Namespace, configuration: Configuration) -> Path:
    """The file to read. Raises _AbsentError."""
    settings = configuration.access_log
    if settings is None:
        raise _AbsentError("no access log is configured: set file in a table [access_log]")
    if settings.file is None:
        raise _AbsentError("the access log goes to the service's standard output, see file in [access_log]")
    if settings.format != "json" and (options.site or options.json):
        raise _AbsentError(
            f'{settings.file} has lines of format "{settings.format}", which name no site: "json" ones do'
        )
    if not may_be_there(settings.file):
        raise _AbsentError(f"{settings.file}, the access log, is not there yet")
    _say(f"access log: {settings.file}")
    return settings.file


def _service(options: argparse.Namespace, configuration: Configuration, site: str | None) -> list[str]:
    """The program to run. Raises _AbsentError where it would find nothing."""
    if configuration.log.format not in (None, "journal"):
        form = configuration.log.format
        raise _AbsentError(f'the service\'s own log goes to its standard error: [log] format is "{form}"')
    if shutil.which(_JOURNALCTL) is None:
        raise _AbsentError("the service's own log goes to its standard error: there is no journal on this machine")
    program = [_JOURNALCTL, "--quiet", "-t", IDENTIFIER, "-n", str(options.lines), "--no-pager"]
    if site is not None:
        program.append(f"APPLIANCE_SITE={site}")
    if options.follow:
        program.append("--follow")
    if options.json:
        program += ["--output", "json"]
    _say(f"service's log: {' '.join(program)}")
    return program


def _say(what: str) -> None:
    print(what, file=sys.stderr)


def _run(options: argparse.Namespace, access: Path | None, service: list[str] | None, site: str | None) -> int:
    show = _Show(console(), site, options.json)
    journal = None
    try:
        if service is not None:
            journal = subprocess.Popen(service, stdin=subprocess.DEVNULL)
            if not options.follow:
                journal.wait()
        if access is not None:
            _read(access, options.lines, show, options.follow)
        if journal is not None:
            return OK if journal.wait() == 0 else FAILED
    except KeyboardInterrupt:
        return OK
    except OSError as error:
        raise ApplianceError(f"{error.filename or access}: {error.strerror}") from error
    finally:
        if journal is not None and journal.poll() is None:
            journal.terminate()
            journal.wait()
    return OK


@frozen
class _Show:
    """Chooses lines of the access log, and prints them."""

    out: Console
    site: str | None
    plain: bool
    """As they are."""

    def wanted(self, line: bytes) -> bool:
        if self.site is None:
            return True
        return b'"site":' + json.dumps(self.site).encode() in line and _parsed(line).get("site") == self.site

    def __call__(self, line: bytes) -> None:
        request = {} if self.plain else _parsed(line)
        text = (
            _line(request)
            if isinstance(request.get("status"), int)
            else Text(printable(line.decode("utf-8", "replace")))
        )
        self.out.print(text, soft_wrap=True)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


def _line(request: dict[str, Any]) -> Text:
    """A request as people like to read it: when, whose, what, how it ended, how long it took, for whom."""
    status = request["status"]
    style = "red" if status >= 500 else "yellow" if status >= 400 else ""
    text = Text(printable(f"{request.get('time', '')} {request.get('site') or '-'} "))
    text.append(str(status), style=style)
    text.append(printable(f" {request.get('method')} {request.get('host')}{request.get('target')}"))
    text.append(printable(f" {duration(request.get('seconds'))} {request.get('client')}"), style="dim")
    if request.get("fault"):
        text.append(printable(f" failed: {request['fault']}"), style="red")
    return text


def _read(path: Path, count: int, show: _Show, follow: bool) -> None:
    with closing(Follower(path, open(path, "rb"))) as follower:
        for line in last_lines(follower.file, count, show.wanted):
            show(line)
        while follow:
            for line in follower.lines():
                if show.wanted(line):
                    show(line)
            sys.stdout.flush()
            time.sleep(INTERVAL)
