"""The operator's own program: ``COMMAND present|cleanup DOMAIN RECORD VALUE``."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import DeferredSemaphore

from appliance.acme.dns.process import run
from appliance.acme.dns.record import TxtRecord
from appliance.config.dns import DnsHook
from appliance.errors import ResponderError

RUNS_AT_ONCE = 4


class ExecHook:
    """A `Publisher` that runs a program for each change. What it says when it fails ends up in our log."""

    def __init__(self, reactor: Any, settings: DnsHook) -> None:
        self._reactor = reactor
        self._settings = settings
        self._runs = DeferredSemaphore(RUNS_AT_ONCE)

    async def present(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._run("present", record)

    async def withdraw(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._run("cleanup", record)

    async def _run(self, action: str, record: TxtRecord) -> None:
        arguments = [*self._settings.command, action, record.domain, record.name, record.value]
        environment = {
            **os.environ,
            "APPLIANCE_ACTION": action,
            "APPLIANCE_DOMAIN": record.domain,
            "APPLIANCE_RECORD": record.name,
            "APPLIANCE_VALUE": record.value,
        }
        what = f"the DNS hook {self._settings.command[0]} {action} for {record.name}"
        async with self._runs:
            try:
                ended = await run(self._reactor, arguments, environment, self._settings.timeout)
            except OSError as error:
                raise ResponderError(f"{what} could not be started: {error.strerror}") from error
        if ended.problem:
            raise ResponderError(f"{what} failed: {ended.words()}")
