"""What the main process tells a worker, and what a worker answers.

A worker was started by the main process and believes what it is told: those are pickles, with whole configurations and
keys in them. The main process believes no worker, which talks to everybody: what that says is JSON, and looked at.

Everything is done in the order in which it was told, and each message is answered when it has been: ``{"done": ""}``,
or with what went wrong. Beside that a worker sends ``{"report": …}`` once a second.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import field, frozen

from appliance.config import Configuration
from appliance.errors import ApplianceError

LONGEST_TOLD = 256 * 1024 * 1024
"""Bytes of a message to a worker: a configuration of a hundred thousand sites."""
LONGEST_SAID = 32 * 1024 * 1024
"""Bytes of an answer or report."""

Document: TypeAlias = dict[str, Any]


@frozen
class LogTo:
    """How a worker writes its log, to the descriptor that it was left for that."""

    observer: Callable[..., Any]
    """Makes a log observer of a file; a function of some module."""
    level: str


@frozen
class Begin:
    """The first message: be a worker for this. The sockets of ``endpoints`` come before it, in their order."""

    configuration: Configuration
    endpoints: tuple[str, ...]
    closed: frozenset[str]
    """Sites in maintenance by the switch."""
    log: LogTo


@frozen
class Accept:
    """All certificates have been told: clients may come."""


@frozen
class Change:
    """Have another configuration. The sockets of ``endpoints``, which are those it adds, come before it."""

    configuration: Configuration
    endpoints: tuple[str, ...]


@frozen
class Swap:
    """Serve this for a site from now on."""

    site: str
    names: tuple[str, ...]
    pem: bytes = field(repr=False)
    """Key, leaf, intermediates."""


@frozen
class Remove:
    """Serve nothing for a site any more."""

    site: str


@frozen
class Present:
    """Answer a CA's challenge, of kind ``http-01`` or ``tls-alpn-01``."""

    kind: str
    name: str
    token: str
    key_authorization: str = field(repr=False)


@frozen
class Withdraw:
    """Answer it no longer."""

    challenge: Present


@frozen
class Close:
    """Have these sites in maintenance by the switch, and no others."""

    sites: frozenset[str]


@frozen
class ReopenLogs:
    """Log files were moved away."""


@frozen
class Leave:
    """Accept nobody any more."""


@frozen
class Retire:
    """End when the last client has gone by itself, or after ``patience`` seconds."""

    patience: float


@frozen
class Drain:
    """End after what is under way, or after ``patience`` seconds."""

    patience: float


@frozen
class Answer:
    """Do nothing but answer: all that was told before has been done by then."""


@frozen
class Hurry:
    """Cut off what `Drain` waits for."""


Message: TypeAlias = (
    Begin
    | Accept
    | Change
    | Swap
    | Remove
    | Present
    | Withdraw
    | Close
    | ReopenLogs
    | Leave
    | Retire
    | Drain
    | Answer
    | Hurry
)


class SaidError(ApplianceError):
    """A worker said what makes no sense."""


def told(message: Message) -> bytes:
    """A message as it is sent."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def hear(data: bytes) -> Message:
    """A message as it was sent by the process that started this one; never for anybody else's bytes."""
    message: Message = pickle.loads(data)
    return message


def done(problem: str = "") -> bytes:
    """A worker's answer."""
    return json.dumps({"done": problem}).encode()


def report(document: Document) -> bytes:
    """A worker's report."""
    return json.dumps({"report": document}).encode()


def said(data: bytes) -> tuple[str | None, Document]:
    """What a worker says: its answer if it is one, or None and its report. Raises SaidError."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SaidError(f"it is no JSON: {error}") from error
    match document:
        case {"done": str(problem)}:
            return problem, {}
        case {"report": dict(figures)}:
            return None, figures
    raise SaidError("it is neither an answer nor a report")
