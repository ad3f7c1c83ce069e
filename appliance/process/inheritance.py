"""Listening sockets passed from one process to another, as systemd passes them: descriptors, named in the environment.

A process names each socket by the endpoint string that it was opened for. Whoever starts another one passes the
descriptors on and puts ``environment`` into its environment; that one finds them with ``from_environment``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from attrs import define, field

from appliance.errors import ApplianceError

VARIABLE = "APPLIANCE_INHERITED"


class InheritanceError(ApplianceError):
    """An environment that does not fit the descriptors there are."""


@define
class Inheritance:
    """What another process left to this one. Descriptors that are taken are the taker's to close."""

    sockets: dict[str, int] = field(factory=dict)
    """Listening sockets by endpoint string."""
    link: int | None = None
    """A stream socket to the process that this one is to replace."""
    errors: int | None = None
    """What standard error is to be once this process serves; until then it is kept for whoever asked for it."""

    def take(self, endpoint: str) -> int | None:
        """The socket for this endpoint, once; None if there is none."""
        return self.sockets.pop(endpoint, None)

    def close(self) -> None:
        """Close the sockets that nobody took: the configuration has changed since."""
        while self.sockets:
            os.close(self.sockets.popitem()[1])

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All of them: what the other process must be passed."""
        others = (each for each in (self.link, self.errors) if each is not None)
        return (*self.sockets.values(), *others)

    def environment(self) -> dict[str, str]:
        """What the other process must find in its environment."""
        return {VARIABLE: json.dumps({"sockets": self.sockets, "link": self.link, "errors": self.errors})}


def from_environment(environ: MutableMapping[str, str]) -> Inheritance | None:
    """What this process was left, if anything; programs that it starts find nothing. Raises InheritanceError."""
    told = environ.pop(VARIABLE, None)
    if told is None:
        return None
    try:
        inherited = _read(json.loads(told))
        _make_ours(inherited.descriptors)
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise InheritanceError(
            f"the environment has {VARIABLE}={told[:200]!r}, which is not of a process that starts its successor"
            f" ({error}): unset it"
        ) from error
    return inherited


def _read(document: Mapping[str, Any]) -> Inheritance:
    sockets, link, errors = (document.get(key) for key in ("sockets", "link", "errors"))
    if not isinstance(sockets, dict):
        raise TypeError("no sockets")
    inherited = Inheritance(sockets, link, errors)
    numbers = inherited.descriptors
    if not all(type(number) is int and number > 2 for number in numbers):
        raise TypeError("no descriptors")
    if len(set(numbers)) < len(numbers):
        raise ValueError("a descriptor twice")
    return inherited


def _make_ours(descriptors: Iterable[int]) -> None:
    """See that they are there; keep them from the programs that we start. Raises OSError."""
    for descriptor in descriptors:
        os.fstat(descriptor)
        os.set_inheritable(descriptor, False)
