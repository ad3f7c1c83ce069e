"""DNS services that dns-lexicon knows, in a process of its own: it blocks, knows no time-outs, and may leak."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredSemaphore

from appliance.acme.dns.process import run
from appliance.acme.dns.record import TxtRecord
from appliance.config.dns import Lexicon, NameServer
from appliance.errors import ResponderError

TIMEOUT = 120.0
"""Seconds for one change."""
RUNS_AT_ONCE = 2
"""A Python with requests in it is some 40 MB."""

_PROGRAM = str(Path(__file__).with_name("lexicon_program.py"))


class LexiconRecords:
    """A `Publisher` that has lexicon tell the DNS service. Credentials go through a pipe, never on a command line."""

    def __init__(self, reactor: Any, settings: Lexicon, resolvers: Sequence[NameServer] = ()) -> None:
        """``resolvers`` are asked for the zone; those of the system, if there are none."""
        self._reactor = reactor
        self._settings = settings
        self._resolvers = [(each.host, each.port) for each in resolvers]
        self._runs = DeferredSemaphore(RUNS_AT_ONCE)

    async def present(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._run("create", record)

    async def withdraw(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._run("delete", record)

    async def _run(self, action: str, record: TxtRecord) -> None:
        settings = self._settings
        task = {
            "action": action,
            "provider": settings.name,
            "options": dict(settings.options),
            "name": record.name,
            "value": record.value,
            "resolvers": self._resolvers,
        }
        async with self._runs:
            # -P: the folder of the program, where "lexicon" is this module, is not to be searched.
            arguments = [sys.executable, "-P", _PROGRAM]
            ended = await run(self._reactor, arguments, os.environ, TIMEOUT, json.dumps(task).encode())
        if ended.problem:
            what = f"{settings.name} (by lexicon) did not {action} the TXT record {record.name}"
            raise ResponderError(f"{what}: {ended.words(self._secrets())}")

    def _secrets(self) -> list[str]:
        """What an error may repeat, an URL with a token in it above all, and a log must not."""
        environment = [value for name, value in os.environ.items() if name.startswith("LEXICON_")]
        return [*map(str, self._settings.options.values()), *environment]
