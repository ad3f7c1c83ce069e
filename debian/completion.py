"""Writes bash's completion of the ``appliance`` command, made from its own parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from appliance.ops.commands.cli import parser

TEMPLATE = """\
# Made by debian/completion.py from the command's own parser.
_appliance()
{{
    local cur prev words cword
    _init_completion || return
    local command=${{words[1]}}
    if ((cword == 1)); then
        COMPREPLY=($(compgen -W "{commands}" -- "$cur"))
        return
    fi
    case $command:$prev in
        {files})
            _filedir
            return
            ;;
    esac
    case $command in
{cases}
    esac
}} &&
    complete -F _appliance appliance
"""

CASE = """\
        {command})
            COMPREPLY=($(compgen -W "{words}" -- "$cur"))
            {more}
            ;;
"""


def main() -> None:
    """Print it."""
    top = parser()
    commands = dict(subparsers(top))
    files = [f"{name}:{option}" for name, each in commands.items() for option in file_options(each)]
    cases = [case(name, each) for name, each in commands.items()]
    names = " ".join([*commands, *options(top)])
    print(TEMPLATE.format(commands=names, files=" | ".join(files), cases="".join(cases).rstrip("\n")), end="")


def subparsers(top: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def options(each: argparse.ArgumentParser) -> list[str]:
    """The long ones, or the only ones."""
    named = [action.option_strings for action in each._actions if action.option_strings]
    return [strings[-1] if strings[-1].startswith("--") else strings[0] for strings in named]


def takes_file(action: argparse.Action) -> bool:
    """Whether it is about a file or a folder."""
    return action.type is Path or action.metavar in ("FILE", "DIR")


def file_options(each: argparse.ArgumentParser) -> Iterator[str]:
    """Every spelling of options that are followed by a file."""
    for action in each._actions:
        if takes_file(action) and action.nargs != 0:
            yield from action.option_strings


def case(name: str, each: argparse.ArgumentParser) -> str:
    """What there is after a command."""
    positional = [action for action in each._actions if not action.option_strings]
    words = [*options(each), *(str(choice) for action in positional for choice in action.choices or ())]
    more = "[[ $cur == -* ]] || _filedir" if any(map(takes_file, positional)) else ":"
    return CASE.format(command=name, words=" ".join(words), more=more)


main()
