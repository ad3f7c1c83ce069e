"""A first configuration: from three answers to a file. Pure but for the disk."""

from __future__ import annotations

import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from appliance.config.file import load
from appliance.errors import StoreError

BACKUP = ".before-init"
"""What the name of a file that is replaced ends with, from then on; a number follows where there is one already."""


@frozen
class Answers:
    """What is to be configured; None and empty is as the defaults have it."""

    names: tuple[str, ...]
    upstream: str
    email: str
    directory: str | None = None
    ca_file: str | None = None
    state_dir: str | None = None
    http: tuple[str, ...] = ()
    https: tuple[str, ...] = ()


def text(answers: Answers) -> str:
    """The file's content."""
    lines = [
        "# Written by appliance init. Every key there is, with what it is for, is in the example that came with the",
        "# appliance: etc/appliance.toml. After a change: appliance check, and have it reloaded or restarted.",
        "",
    ]
    if answers.state_dir is not None:
        lines += [f"state_dir = {_quoted(answers.state_dir)}", ""]
    if answers.http or answers.https:
        lines.append("[listen]")
        lines += [f"http = {_list(answers.http)}"] if answers.http else []
        lines += [f"https = {_list(answers.https)}"] if answers.https else []
        lines.append("")
    lines.append("[acme]")
    if answers.directory is not None:
        lines.append(f"directory = {_quoted(answers.directory)}")
    if answers.ca_file is not None:
        lines.append(f"ca_file = {_quoted(answers.ca_file)}")
    lines += [
        f"email = {_quoted(answers.email)}",
        "# You agreed to the CA's terms of service when you gave your address to appliance init.",
        "agree_tos = true",
        "",
        "# One certificate for all of these names. One more table like this for each further site.",
        "[[site]]",
        f"names = {_list(answers.names)}",
        f"upstream = {_quoted(answers.upstream)}",
    ]
    return "\n".join(lines) + "\n"


def write(path: Path, content: str, replace: bool) -> Path | None:
    """
    Put the file there whole, once it is known to be good; the name that a file before it has now, if there was one.

    :raises ConfigurationError: it would not do.
    :raises StoreError: there is one already, and it is not to be replaced; or it cannot be written.
    """
    check_kind(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        _make_folder(path.parent)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            _let_read(file.fileno(), path)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        load(temporary)
        if not replace:
            _link(temporary, path)
            return None
        kept = _keep(path) if os.path.lexists(path) else None
        os.replace(temporary, path)
        return kept
    except OSError as error:
        advice = "run this as root, or name another by --config"
        raise StoreError(f"cannot write {path}: {error.strerror}; {advice}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _make_folder(folder: Path) -> None:
    """The service is another user than who runs this: it gets in, whatever the umask."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def _let_read(descriptor: int, path: Path) -> None:
    """Whoever could read the file that is replaced, everybody if there is none, whatever the umask."""
    try:
        before = path.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
    else:
        with suppress(PermissionError):  # who may not give it away keeps it
            os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def check_kind(path: Path) -> None:
    """Refuse what is no file and stays where it is, whoever asks. Raises StoreError."""
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "no regular file"
        raise StoreError(f"{path} is {kind}: name a file by --config")


def _keep(path: Path) -> Path:
    """Another name for what is there, which nothing else has."""
    number = 1
    while True:
        kept = path.with_name(f"{path.name}{BACKUP}{f'.{number}' if number > 1 else ''}")
        if not os.path.lexists(kept):
            os.rename(path, kept)
            return kept
        number += 1


def _link(temporary: Path, path: Path) -> None:
    """Other than a rename, this replaces nothing."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise in_the_way(path) from None


def in_the_way(path: Path) -> StoreError:
    """What is said where there is such a file."""
    return StoreError(f"{path} is there already: --force replaces it, and keeps it beside")


def upstream(answer: str) -> str:
    """What people answer for an address: a port alone, ``HOST:PORT``, or a socket's path, will do."""
    answer = answer.strip()
    if answer.isdigit():
        return f"http://127.0.0.1:{answer}"
    if answer.startswith("/"):
        return f"unix:{answer}"
    return answer if "://" in answer or answer.startswith("unix:") else f"http://{answer}"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(values: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_quoted, values))}]"
