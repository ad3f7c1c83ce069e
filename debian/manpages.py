"""Writes the manual pages into a folder: out of the programs' own help and the commented configuration.

``manpages.py FOLDER`` makes appliance.1, twist-appliance.8 and appliance.toml.5.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

from appliance import __version__
from appliance.ops.commands.cli import parser
from appliance.ops.commands.terminal import EXIT_STATUS
from appliance.tap import Options

DEBIAN = Path(__file__).parent
WIDTH = 78

COMMANDS = """\
The commands talk to the service that runs on this machine, over a socket in its state_dir, which only its user and root
can open.
"""

SERVICE = """\
This is what the unit appliance.service runs. twist itself has options too, to be given before the word appliance: see
/usr/lib/appliance/bin/twist --help.
"""

SIGNALS = (
    ("SIGHUP", "Read the configuration anew, as appliance reload does."),
    ("SIGUSR1", "Open the log files anew, after they were moved."),
    ("SIGUSR2", "Have a new process take over, as appliance upgrade does."),
    (
        "SIGTERM, SIGINT",
        "Accept nobody, finish what was begun, within drain_timeout, and end; twice: end at once.",
    ),
)

ENDINGS = """\
0  it was told to end
1  something it needs is not to be had: a port, for one
2  options or a configuration that cannot be used
"""

_KEY_OR_TABLE = re.compile(r"#?(\[|[\w.\"-]+ *= )")
"""What stands in a line of the configuration that is no prose: ``#key = value``, ``[table]``."""


def escaped(text: str) -> str:
    """A line of text that means nothing to roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def title(name: str, section: int, purpose: str) -> list[str]:
    """How a page begins."""
    stamp = (DEBIAN / "changelog").read_text(encoding="utf-8").partition(" -- ")[2].partition(">")[2].partition("\n")[0]
    day = parsedate_to_datetime(stamp.strip()).date().isoformat()
    return [
        f'.TH {name.upper()} {section} {day} "appliance {__version__}" "The appliance"',
        ".nh",
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(purpose)}",
    ]


def literal(text: str) -> list[str]:
    """As it is, in its own lines."""
    return [".PP", ".nf", *(escaped(line) for line in text.strip("\n").split("\n")), ".fi"]


def prose(text: str) -> list[str]:
    """Paragraphs."""
    return [line for part in text.split("\n\n") for line in (".PP", *map(escaped, part.strip().split("\n")))]


def see_also(*pages: str) -> list[str]:
    """How a page ends."""
    shown = [f"\\fB{escaped(name)}\\fR({section})" for name, section in (page.rstrip(")").split("(") for page in pages)]
    return [".SH SEE ALSO", ", ".join(shown), ".PP", "/usr/share/doc/appliance has the rest."]


# appliance(1)


def commands() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Every command, in a few words, and its own parser."""
    (action,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    for choice in action._choices_actions:
        yield choice.dest, choice.help or "", action.choices[choice.dest]


def command_page() -> list[str]:
    """The command line."""
    page = title("appliance", 1, "operate the appliance")
    page += [".SH SYNOPSIS", ".B appliance", "\\fICOMMAND\\fR [\\fIOPTION\\fR...]", ".SH DESCRIPTION"]
    page += prose(parser().description or "")
    page += prose(COMMANDS)
    page.append(".SH COMMANDS")
    for name, purpose, each in commands():
        page += [f".SS {escaped(name)}", f"\\fI{escaped(purpose[:1].upper() + purpose[1:])}.\\fR"]
        page += prose((each.description or "").replace("\n    ", "\n"))
        page += literal(each.format_usage())
        page += arguments(each)
        examples = (each.epilog or "").replace(EXIT_STATUS, "").strip("\n")
        page += literal(examples) if examples else []
    page += [".SH EXIT STATUS", *literal(EXIT_STATUS.partition("\n")[2])]
    page += [".SH FILES"]
    for file, what in (
        ("/etc/appliance/appliance.toml", "The configuration."),
        ("/var/lib/appliance", "Accounts, keys, certificates and renewal state. Back it up. Removed by a purge."),
        ("/var/log/appliance", "For the access log, where the configuration asks for one."),
        ("/usr/lib/appliance", "The program, with the Python packages that it needs."),
    ):
        page += [".TP", f".I {escaped(file)}", escaped(what)]
    return page + see_also("twist-appliance(8)", "appliance.toml(5)")


def arguments(each: argparse.ArgumentParser) -> list[str]:
    """What may follow a command."""
    page = []
    helps = each._get_formatter()
    for action in each._actions:
        if action.help == argparse.SUPPRESS or action.dest == "help":
            continue
        page += [".TP", f"\\fB{escaped(helps._format_action_invocation(action))}\\fR"]
        page.append(escaped(helps._expand_help(action)) if action.help else "\\&")
    return page


# twist-appliance(8)


def service_page() -> list[str]:
    """The service itself."""
    options = Options()
    listed = options.getUsage(WIDTH).partition("Options:\n")[2]
    page = title("twist-appliance", 8, "terminate TLS, proxy to applications, keep certificates renewed")
    page += [".SH SYNOPSIS", *literal(f"/usr/lib/appliance/bin/twist appliance {options.synopsis}")]
    page += [".SH DESCRIPTION", *prose(options.longdesc)]
    page += prose(SERVICE)
    page += [".SH OPTIONS"]
    for words, purpose in listed_options(listed):
        page += [".TP", f"\\fB{escaped(words)}\\fR", escaped(purpose)]
    page.append(".SH SIGNALS")
    for signal, what in SIGNALS:
        page += [".TP", f".B {signal}", escaped(what)]
    page += [".SH EXIT STATUS", *literal(ENDINGS)]
    return page + see_also("appliance(1)", "appliance.toml(5)", "systemd.service(5)")


def listed_options(listed: str) -> Iterator[tuple[str, str]]:
    """Options and what they are for, out of Twisted's help."""
    words, purpose = "", ""
    for line in listed.split("\n"):
        found = re.match(r" {2,6}(-\S.*?)(?: {2,}(.*))?$", line)
        if found or not line.startswith(" "):
            if words:
                yield words, " ".join(purpose.split())
            words, purpose = (found[1], found[2] or "") if found else ("", "")
        else:
            purpose += f" {line}"
    if words:
        yield words, " ".join(purpose.split())


# appliance.toml(5)


def configuration_page() -> list[str]:
    """The commented configuration, its comments as text."""
    page = title("appliance.toml", 5, "the appliance's configuration")
    page += [".SH DESCRIPTION"]
    text: list[str] = []
    code: list[str] = []
    for line in (DEBIAN.parent / "etc" / "appliance.toml").read_text(encoding="utf-8").splitlines():
        table = re.match(r"#?(\[+[\w.]+\]+)$", line)
        shown = _KEY_OR_TABLE.match(line) or line.startswith("#     ")
        if code and not (shown and not table):
            page += literal("\n".join(code))
            code = []
        if table:
            page += [f".SS {escaped(table[1])}", *text]
            text = []
        elif shown:
            page += text
            text = []
            code.append(f"    {line.removeprefix('#').strip()}")
        else:
            text.append(escaped(line.lstrip("#").strip()) or ".PP")
    return [*page, *literal("\n".join(code)), *text, *see_also("appliance(1)", "twist-appliance(8)")]


def main(folder: Path) -> None:
    """Write all."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"appliance.1": command_page, "twist-appliance.8": service_page, "appliance.toml.5": configuration_page}
    for name, make in pages.items():
        (folder / name).write_text("\n".join(make()) + "\n", encoding="utf-8")


main(Path(sys.argv[1]))
