"""A folder that is served as it is: the part of the configuration in sites' and routes' ``root``."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen
class Root:
    """What a route's path stands for: ``/static/a.css`` is ``a.css`` in the folder of a route for ``/static``."""

    folder: Path
    cache_control: str | None = None
    """The value of ``Cache-Control`` for every file; None: none is sent."""
    fallback: str | None = None
    """The file that browsers get where there is none and they want a page, by its path in the folder."""
