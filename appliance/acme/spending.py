"""The one owner of what was used of CAs: the ledger of ``budget``, and its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from appliance import atomicfile
from appliance.acme import record
from appliance.acme.budget import Accounts, Hold, Ledger, Use
from appliance.errors import StoreError
from appliance.shield import shielded
from appliance.store import Defer

_MAX_FILE = 16 * 1024 * 1024


class Spending:
    """
    What all sites together have used, across restarts.

    What is spent is on disk before the CA is asked. Where it cannot be written, it is counted in memory and logged: a
    full disk is no reason to be without certificates.
    """

    _log = Logger()

    def __init__(self, path: Path, defer: Defer, now: Callable[[], datetime]) -> None:
        """``path`` is a file of its own; ``defer`` runs disk work in a thread."""
        self._path = path
        self._defer = defer
        self._now = now
        self._ledger = Ledger()
        self._lock = DeferredLock()
        self._unsaved = False

    async def load(self) -> None:
        """Read what earlier processes used. A file of no use is set aside: forgetting is better than not starting."""
        try:
            content = await self._defer(lambda: atomicfile.read(self._path, _MAX_FILE))
            if content is not None:
                self._ledger = Ledger(record.load(Accounts, json.loads(content)))
        except StoreError as error:
            self._log.error("what was used of CAs before is not known: {error}", error=error)
        except (ValueError, TypeError, RecursionError) as error:
            aside = await self._defer(self._set_aside)
            self._log.error(
                "what was used of CAs before is not known: {path} makes no sense ({error!r}), and {aside}",
                path=self._path,
                error=error,
                aside=aside,
            )

    def room(self, authority: str, uses: Iterable[Use]) -> Hold | None:
        """What an order would have to wait for."""
        return self._ledger.room(authority, uses, self._now())

    async def spend(self, uses: Iterable[Use]) -> None:
        """Count, and write it down."""
        self._ledger.spend(uses, self._now())
        await self._save()

    async def refund(self, uses: Iterable[Use]) -> None:
        """Take the last of each back."""
        self._ledger.refund(uses)
        await self._save()

    async def hold(self, authority: str, until: datetime) -> None:
        """This CA wants no orders before then."""
        self._ledger.hold(authority, until)
        await self._save()

    async def _save(self) -> None:
        """Write what there is; those who come while another write is under way share the next one."""
        self._unsaved = True
        async with self._lock:
            if self._unsaved:
                self._unsaved = False
                await shielded(self._save_now())

    async def _save_now(self) -> None:
        content = json.dumps(record.dump(self._ledger.accounts(self._now()))).encode() + b"\n"
        try:
            await self._defer(lambda: self._write(content))
        except Exception as error:
            self._log.error("what was used of CAs cannot be written down: {error}", error=error)

    def _write(self, content: bytes) -> None:
        atomicfile.make_private_folder(self._path.parent)
        atomicfile.replace(self._path, content)

    def _set_aside(self) -> str:
        try:
            return f"was set aside as {atomicfile.set_aside(self._path, self._now())}"
        except StoreError as error:
            return str(error)
