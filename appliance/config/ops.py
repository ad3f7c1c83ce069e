"""What the service tells of itself: the part of the configuration in ``[log]``, ``[access_log]`` and ``[metrics]``."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen
class Log:
    """The service's own log."""

    format: str | None = None
    """``text``, ``json`` or ``journal``; None: the journal if that is where standard error leads, else text."""
    level: str = "info"
    """Nothing below it: ``debug``, ``info``, ``warn``, ``error``, ``critical``."""


@frozen
class AccessLog:
    """A line for every request."""

    file: Path | None = None
    """None is standard output."""
    format: str = "json"
    """``json`` or ``combined``."""
    redact: tuple[str, ...] = ()
    """Words in parameters' names that make their values secret, beside those that always do."""
    request_id_header: str | None = None
    """The field in which an application is told the request's id."""


@frozen
class Metrics:
    """Where metrics and the status page are to be had."""

    listen: tuple[str, ...]
    """Twisted server endpoint strings: loopback addresses and UNIX sockets, unless ``public``."""
    public: bool = False
    max_sites: int = 100
    """So many sites, and so many upstream addresses, have figures of their own."""
    buttons: bool = True
    """Whether the status page has buttons. Where ``public``, there is no such page."""
