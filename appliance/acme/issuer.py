"""One CA account that turns names into certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent
from txacme.interfaces import IResponder  # type: ignore[import-untyped]

from appliance.config import Acme
from appliance.tls.certificate import Certificate


class Issuer:
    """One CA account: registers on first use, then serves any number of orders at once."""

    def __init__(
        self,
        clock: IReactorTime,
        agent: IAgent,
        acme: Acme,
        state_dir: Path,
        responders: Sequence[IResponder],
        now: Callable[[], datetime],
    ) -> None:
        """``responders`` in order of preference, one per challenge type; ``agent`` from :class:`client.CaAgent`."""
        raise NotImplementedError

    async def issue(self, names: Sequence[str]) -> Certificate:
        """Order one certificate for ``names`` with a fresh P-256 key. Raises AcmeError subclasses."""
        raise NotImplementedError
