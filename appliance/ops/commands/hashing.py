"""The command that makes what ``basic_auth`` knows people by."""

from __future__ import annotations

import argparse
import sys
from getpass import getpass

from appliance.errors import ApplianceError
from appliance.ops.commands.terminal import OK, Commands, add_command
from appliance.passwords import hash_password


def add(commands: Commands) -> None:
    """Put this command into the parser."""
    add_command(
        commands,
        "hash-password",
        hash_one,
        "make a hash for basic_auth",
        "  appliance hash-password                asks for the password, twice\n"
        "  pass show staging | appliance hash-password\n",
    )


def hash_one(options: argparse.Namespace) -> int:
    """Print the hash of a password, which is asked for, or is the first line of the standard input.

    It belongs among the users of [site.basic_auth], in single quotes: users = {anna = '$argon2id$…'}.
    """
    try:
        password = _asked() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
        encoded = password.encode("utf-8")
    except EOFError:
        raise ApplianceError("no password was given") from None
    except UnicodeError:  # whose words repeat the password
        raise ApplianceError("the password is not UTF-8, in which browsers send it: see the locale (LANG)") from None
    if not encoded:
        raise ApplianceError("an empty password is none")
    print(hash_password(encoded))
    return OK


def _asked() -> str:
    password = getpass("Password: ")
    if getpass("Again: ") != password:
        raise ApplianceError("these were two different passwords")
    return password
