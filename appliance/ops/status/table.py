"""The status document on a terminal: a table of all sites, below it what is wrong and what to do; or one site whole."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from appliance.config import NO_SITE
from appliance.errors import ApplianceError

Document = dict[str, Any]

_SOON = timedelta(days=1)


def show(status: Document, console: Console) -> None:
    """All sites."""
    console.print(view(status))


def view(status: Document) -> Group:
    """The same, to be printed."""
    now = datetime.fromisoformat(status["now"])
    if not status["sites"]:
        return Group(
            _head(status), Text(no_sites(status)), *(Text(line, style="red") for line in reload_trouble(status))
        )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("SITE", "CERTIFICATE", "EXPIRES", "NEXT", "UPSTREAMS"):
        table.add_column(title, overflow="fold")
    for site in status["sites"]:
        table.add_row(_name(site), _certificate(site), _expiry(site, now), next_step(site, now), _upstreams(site))
    below = [
        Text.assemble((f"{site['site']}: ", "bold"), line)
        for site in status["sites"]
        for line in (*_under_way(site), *troubles(site))
    ]
    complaints = [
        Text(complaint, style="red")
        for complaint in (*status.get("complaints", ()), *reload_trouble(status), *worker_trouble(status))
    ]
    return Group(_head(status), table, *below, *complaints)


def no_sites(status: Document) -> str:
    """Why there are none to be shown."""
    told = status.get("configuration")
    if told and not told["sites"]:
        return NO_SITE.format(file=told["file"])
    return "No site has been looked at yet." if status["running"] else "No site is known."


def reload_trouble(status: Document) -> list[str]:
    """What was wrong with the configuration that was read last; the one before it is in force."""
    told = status.get("configuration")
    if not told or not told["error"]:
        return []
    first = f"the last reload failed ({_utc(told['failed'])}); what was read at {_utc(told['loaded'])} is in force:"
    return [first, *(f"  {line}" for line in told["error"].splitlines())]


def worker_trouble(status: Document) -> list[str]:
    """Processes that are missing, or had to be replaced."""
    told = status.get("workers")
    if not told or (told["serving"] == told["configured"] and not told["replaced"]):
        return []
    return [
        f"{told['serving']} of {told['configured']} processes serve;"
        f" {told['replaced']} ended by themselves since the start: see the log"
    ]


def _under_way(site: Document) -> list[str]:
    """The step that an order is at."""
    return [site["progress"][-1]["step"]] if site["under_way"] and site["progress"] else []


def show_site(status: Document, name: str, console: Console) -> bool:
    """One site, everything; whether there is such a one."""
    now = _moment(status["now"])
    site = find(status, name)
    if site is None or now is None:
        return False
    console.print(_head(status))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    certificate = site["certificate"]
    table.add_row("names", ", ".join(site["names"]))
    if certificate:
        table.add_row("serial", certificate["serial"])
        table.add_row("issuer", certificate["issuer"])
        table.add_row("valid", f"{_utc(certificate['not_before'])} to {_utc(certificate['not_after'])}")
    else:
        table.add_row("certificate", Text("none: the site cannot be reached over TLS", style="red"))
    table.add_row("next", next_step(site, now))
    table.add_row("because", site["next"]["reason"])
    table.add_row("last order", f"{_utc(site['last_attempt'])}, last good one {_utc(site['last_success'])}")
    table.add_row("on the wire", _wire(site))
    for upstream in site["upstreams"]:
        table.add_row("upstream", f"{upstream['path']} -> {upstream['address']} {_state(upstream)}".rstrip())
    console.print(table)
    for line in troubles(site):
        console.print(Padding(Group(Text(line)), (1, 0, 0, 0)))
    return True


def find(status: Document, name: str) -> Document | None:
    """The site of that name, or with that name among its names."""
    by_site = {site["site"]: site for site in status["sites"]}
    by_name = {each: site for site in status["sites"] for each in site["names"]}
    return by_site.get(name) or by_name.get(name)


def one(status: Document, name: str) -> Document:
    """As ``find``. Raises ApplianceError naming the sites there are."""
    site = find(status, name)
    if site is None:
        known = ", ".join(site["site"] for site in status["sites"]) or "none"
        raise ApplianceError(f"{name} is no site here; the sites are {known}")
    return site


def troubles(site: Document) -> list[str]:
    """Sentences about what is wrong with a site; none when all is well."""
    found = []
    problem = site["problem"]
    if site.get("maintenance"):
        found.append(f"in maintenance: requests are answered with 503, until appliance maintenance off {site['site']}")
    if problem:
        if problem["message"] and problem["message"] not in site["alarm"]:
            found.append(f"the last order failed: {problem['message']}")
        found += [f"{each['name']} is left out: {each['detail']} {each['advice']}" for each in problem["names"]]
    if not site["saved"]:
        found.append("the newest certificate could not be saved: see the log, and free space or correct permissions")
    if site["alarm"]:
        found.append(site["alarm"])
    if site["wire"]["problem"]:
        found.append(f"what is served is not what is stored: {site['wire']['problem']}")
    if site["export"] and site["export"] != site["alarm"]:
        found.append(site["export"])
    for upstream in site["upstreams"]:
        if upstream["state"] == "out":
            found.append(f"{upstream['address']} is out: {upstream['reason']} See whether the application runs there.")
    return found


def span(length: timedelta) -> str:
    """A time span in the two units that matter: ``29 d 3 h``, ``3 h 5 min``, ``40 s``."""
    seconds = int(abs(length).total_seconds())
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h" if hours and days < 100 else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"


def duration(seconds: float | None) -> str:
    """A short time: ``35 ms``, ``1.20 s``; nothing for None."""
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _head(status: Document) -> Text:
    if status["running"]:
        told = status.get("configuration")
        read = f", configuration of {_utc(told['loaded'])}" if told else ""
        line = f"appliance {status['software']}, pid {status.get('pid')}, up {_up(status)}"
        return Text(f"{line}, state in {status['state_dir']}{read}", style="dim")
    return Text(f"not running: this is what is stored in {status['state_dir']}", style="yellow")


def _up(status: Document) -> str:
    started, now = _moment(status.get("started")), _moment(status["now"])
    return span(now - started) if started is not None and now is not None else "?"


def _name(site: Document) -> str:
    others = len(site["names"]) - 1
    return f"{site['site']} +{others}" if others else str(site["site"])


def _certificate(site: Document) -> Text:
    certificate = site["certificate"]
    if certificate is None:
        return Text("none", style="red")
    missing = [name for name in site["names"] if name not in site["covered"]]
    text = Text(f"{_short(certificate['serial'])} {common_name(certificate['issuer'])}")
    if missing:
        text.append(f", without {', '.join(missing)}", style="yellow")
    return text


def _expiry(site: Document, now: datetime) -> Text:
    end = _moment(site["certificate"]["not_after"]) if site["certificate"] else None
    if end is None:
        return Text("")
    if end <= now:
        return Text(f"{span(now - end)} ago", style="bold red")
    return Text(f"in {span(end - now)}", style="yellow" if site["problem"] else "green")


def next_step(site: Document, now: datetime) -> Text:
    """What is done next, and when: ``order 2027-01-21 12:00 UTC``."""
    at, step = _moment(site["next"]["at"]), site["next"]["step"]
    what = {"store": "save", "install": "serve", "renew": "order"}.get(step, "order")
    if at is None or at <= now:
        return Text(f"{what} now", style="yellow")
    when = f"{at:%Y-%m-%d %H:%M} UTC" if at - now > _SOON else f"in {span(at - now)}"
    return Text(f"{what} {when}", style="yellow" if site["failures"] else "")


def _upstreams(site: Document) -> Text:
    out = [upstream["address"] for upstream in site["upstreams"] if upstream["state"] == "out"]
    if out:
        return Text(f"out: {', '.join(out)}", style="red")
    return Text(", ".join(dict.fromkeys(upstream["address"] for upstream in site["upstreams"])))


def _state(upstream: Document) -> str:
    return f"out: {upstream['reason']}" if upstream["state"] == "out" else upstream["state"] or ""


def _wire(site: Document) -> Text:
    wire = site["wire"]
    if wire["problem"]:
        return Text(wire["problem"], style="red")
    if not wire["checked"]:
        return Text("not looked at yet")
    return Text(f"serial {wire['serial']}, seen {_utc(wire['checked'])} ({wire['way']})")


def _short(serial: str) -> str:
    return serial if len(serial) <= 12 else f"{serial[:6]}…{serial[-4:]}"


def common_name(issuer: str) -> str:
    """The part of an issuer's name that people know it by."""
    parts = dict(part.partition("=")[::2] for part in issuer.split(","))
    return parts.get("CN") or parts.get("O") or issuer


def _utc(text: str | None) -> str:
    moment = _moment(text)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment is not None else "never"


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
