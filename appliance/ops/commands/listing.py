"""The commands ``appliance sites`` and ``appliance certs``: one column of ``status`` each, in full."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from appliance.ops.commands.running import current_status
from appliance.ops.commands.terminal import (
    NOT_RUNNING,
    OK,
    Commands,
    add_command,
    add_common,
    console,
    print_json,
    target_to_ask,
)
from appliance.ops.status import table
from appliance.ops.status.document import Document

Row = Sequence[str | Text]


def add(commands: Commands) -> None:
    """Put these commands into the parser."""
    for name, function, summary, examples in (
        (
            "sites",
            sites,
            "every site's names and routes, and how its applications do",
            "  appliance sites                        all of them\n"
            "  appliance sites example.com            one\n"
            "  appliance sites --json | jq '.sites[].upstreams[] | select(.state == \"out\")'\n",
        ),
        (
            "certs",
            certs,
            "every certificate: names, serial number, issuer, dates, next renewal",
            "  appliance certs                        all of them\n"
            "  appliance certs example.com            one\n"
            "  appliance certs --json | jq -r '.certificates[] | [.site, .not_after] | @tsv'\n",
        ),
    ):
        parser = add_command(commands, name, function, summary, examples)
        parser.add_argument(
            "name", nargs="?", metavar="NAME", help="one site: its name, or any name it is asked for by"
        )
        add_common(parser)


def sites(options: argparse.Namespace) -> int:
    """Show which names each site has, where each path goes, and how the applications there do.

    Rates and times are of the last minute, times those to the beginning of a response: half of the requests took no
    longer than p50, 95 of 100 no longer than p95. They are counted where there is a [metrics] table.
    """
    return _show(options, lambda found: {"sites": [_of_site(site) for site in found["sites"]]}, show_sites)


def certs(options: argparse.Namespace) -> int:
    """Show the certificate of each site, and when it is renewed next."""
    return _show(
        options, lambda found: {"certificates": [_of_certificate(site) for site in found["sites"]]}, show_certs
    )


def _show(
    options: argparse.Namespace,
    choose: Callable[[Document], Document],
    show: Callable[[Document, Console], None],
) -> int:
    found = current_status(target_to_ask(options))
    if options.name is not None:
        found = {**found, "sites": [table.one(found, options.name)]}
    if options.json:
        print_json({"version": found["version"], "running": found["running"], "now": found["now"], **choose(found)})
    else:
        show(found, console())
    return OK if found["running"] else NOT_RUNNING


def _of_site(site: Document) -> Document:
    return {key: site[key] for key in ("site", "names", "upstreams", "traffic")}


def _of_certificate(site: Document) -> Document:
    """The certificate's own keys beside the site's; null where there is none."""
    certificate = site["certificate"] or dict.fromkeys(("serial", "issuer", "names", "not_before", "not_after"))
    return {
        "site": site["site"],
        **certificate,
        "missing": [name for name in site["names"] if name not in site["covered"]],
        "next": site["next"],
    }


def show_sites(status: Document, out: Console) -> None:
    """A line for each address of each site."""
    counted = any(upstream["traffic"] for site in status["sites"] for upstream in site["upstreams"])
    rows: list[Row] = []
    for site in status["sites"]:
        first: tuple[str | Text, str] = Text(site["site"], style="bold"), "\n".join(site["names"])
        for upstream in site["upstreams"] or [None]:
            rows.append((*first, *_route(upstream)))
            first = "", ""
    _print(out, ("SITE", "NAMES", "PATH", "APPLICATION", "STATE", "REQ/S", "P50", "P95"), rows)
    if status["running"] and not counted:
        out.print(Text(_uncounted(status), style="dim"))


def _uncounted(status: Document) -> str:
    if status.get("traffic") is None:
        return "Requests are not counted: the configuration has no [metrics]."
    return "No request has been passed on yet."


def _route(upstream: Document | None) -> Row:
    if upstream is None:
        return "", "", "", "", "", ""
    traffic = upstream["traffic"]
    figures = (
        (f"{traffic['rate']:g}", table.duration(traffic["p50"]), table.duration(traffic["p95"]))
        if traffic
        else ("", "", "")
    )
    if upstream["state"] == "out":
        return upstream["path"], upstream["address"], Text(f"out: {upstream['reason']}", style="red"), *figures
    return upstream["path"], upstream["address"], Text(upstream["state"] or "", style="green"), *figures


def show_certs(status: Document, out: Console) -> None:
    """A line for each certificate, and one for each site that has none."""
    now = datetime.fromisoformat(status["now"])
    rows = []
    for site in status["sites"]:
        certificate = site["certificate"]
        if certificate is None:
            row: Row = ", ".join(site["names"]), Text("none", style="red"), "", "", Text("")
        else:
            end = datetime.fromisoformat(certificate["not_after"])
            row = (
                _names(site, certificate),
                certificate["serial"],
                table.common_name(certificate["issuer"]),
                _day(certificate["not_before"]),
                Text(_day(certificate["not_after"]), style="bold red" if end <= now else ""),
            )
        rows.append((Text(site["site"], style="bold"), *row, table.next_step(site, now)))
    _print(out, ("SITE", "NAMES", "SERIAL", "ISSUER", "FROM", "UNTIL", "NEXT"), rows)


def _names(site: Document, certificate: Document) -> Text:
    names = Text("\n".join(certificate["names"]))
    missing = [name for name in site["names"] if name not in site["covered"]]
    if missing:
        names.append(f"\nwithout {', '.join(missing)}", style="yellow")
    return names


def _print(out: Console, titles: Iterable[str], rows: Sequence[Row]) -> None:
    if not rows:
        out.print("No site is known.")
        return
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        shown.add_column(title, overflow="fold", justify="right" if title in ("REQ/S", "P50", "P95") else "left")
    for row in rows:
        shown.add_row(*row)
    out.print(shown)


def _day(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M}"
