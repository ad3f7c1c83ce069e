"""The command ``appliance check-app``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from attrs import asdict

from appliance.config import Timeouts
from appliance.config.reading import values
from appliance.config.reading.schema import Document, Place, Refused
from appliance.errors import ApplianceError
from appliance.ops.commands.terminal import (
    BAD_CONFIGURATION,
    FAILED,
    OK,
    Commands,
    add_command,
    add_json,
    complain,
    console,
    print_json,
)
from appliance.ops.diagnosis.appadvice import Question, examine
from appliance.ops.diagnosis.appprobe import observe
from appliance.ops.diagnosis.findings import show, worst_is_bad

_OTHERS = """\
What cannot be told from outside is marked as unknown. Only GET requests were made, among them for paths that may not
exist; the application's log has them.
"""


def add(commands: Commands) -> None:
    """Put the command into the parser."""
    parser = add_command(
        commands,
        "check-app",
        check_app,
        "ask an application as the proxy would, and tell which of its settings are missing",
        "  appliance check-app http://127.0.0.1:8000 --host example.com\n"
        "  appliance check-app http://127.0.0.1:8000/login --host example.com    a page that redirects tells most\n"
        "  appliance check-app unix:/run/app.sock --host example.com\n"
        "  appliance check-app http://127.0.0.1:8000 --host example.com --strip-prefix /api\n",
    )
    parser.add_argument(
        "url", metavar="URL", help="http://, https:// or unix:, as in the configuration; a path may follow"
    )
    parser.add_argument("--host", metavar="NAME", help="the site's name (default: the URL's own host)")
    parser.add_argument("--strip-prefix", metavar="PATH", default="", help="the route's path, if it is stripped")
    parser.add_argument("--timeout", type=_seconds, default=5.0, help="seconds for each answer (default: %(default)g)")
    parser.add_argument(
        "--wait", type=_seconds, default=6.0, help="seconds to look at an idle connection (default: %(default)g)"
    )
    add_json(parser)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= values.MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, above 0 and at most {values.MAX_SECONDS:.0f}")
    return number


def check_app(options: argparse.Namespace) -> int:
    """Send an application requests as the proxy sends them, and tell what its answers show.

    Whether it sees that the client came by https, serves the site's name, keeps connections long enough; and the flags
    or settings of Uvicorn, Gunicorn, Hypercorn, Granian and Django that are missing.
    """
    try:
        question = _question(options)
    except Refused as error:
        return complain(options, ApplianceError(f"check-app: {error}"), BAD_CONFIGURATION)
    findings = examine(observe(question), Timeouts().upstream_idle)
    if options.json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        show(findings, console())
        print(_OTHERS, end="")
    return FAILED if worst_is_bad(findings) else OK


def _question(options: argparse.Namespace) -> Question:
    """What is asked. Raises Refused."""
    place = Place(Document(values.upstream, folder=Path.cwd()))
    scheme, separator, rest = options.url.partition("://")
    authority, slash, path = rest.partition("/")
    address = values.upstream(f"{scheme}{separator}{authority}" if separator else options.url, place)
    if address.http2:
        raise Refused("applications are asked over HTTP/1.1 here: write http:// if it speaks that too")
    name = values.site_name(options.host, place) if options.host else address.host or "localhost"
    host = f"[{name}]" if ":" in name else name
    prefix = values.route_path(options.strip_prefix, place) if options.strip_prefix else ""
    target = values.request_target(f"{slash}{path}" or "/", place)
    return Question(address, target, host, prefix, options.timeout, options.wait)
