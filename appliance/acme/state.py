"""What is remembered of a site's renewals, so that a restart neither forgets a deadline nor repeats an order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from appliance import atomicfile
from appliance.errors import StoreError

RESTART_PATIENCE = timedelta(minutes=15)
"""A restart, being perhaps somebody's attempt at a repair, need not wait longer than this since the last failure."""

STOP_PATIENCE = timedelta(seconds=10)
"""How soon an attempt that an orderly stop interrupted may be made again."""

_VERSION = 1


@frozen
class RenewalState:
    """One site's record. All times are aware, UTC, by the wall clock: they outlive the process."""

    names: tuple[str, ...] = ()
    """What the last attempt was for: failing for other names says nothing about these."""
    last_attempt: datetime | None = None
    last_success: datetime | None = None
    failures: int = 0
    """Attempts in a row that brought no certificate. One is counted when it begins: a crash is a failure."""
    problem: str = ""
    """What went wrong last, in words for the operator; empty after a success."""
    next_attempt: datetime | None = None
    """No attempt before this."""
    retry_after: bool = False
    """That time was named by the CA."""
    running: bool = False
    """An attempt is under way, or was when the process was killed."""

    def begin(self, names: Iterable[str], now: datetime, next_attempt: datetime) -> RenewalState:
        """An attempt begins; ``next_attempt`` is for the next process, should this one not survive it."""
        return evolve(
            self,
            names=tuple(names),
            last_attempt=now,
            failures=self.failures + 1,
            next_attempt=next_attempt,
            retry_after=False,
            running=True,
        )

    def fail(self, problem: str, next_attempt: datetime, retry_after: bool = False) -> RenewalState:
        """The attempt brought no certificate."""
        return evolve(self, problem=problem, next_attempt=next_attempt, retry_after=retry_after, running=False)

    def succeed(self, now: datetime) -> RenewalState:
        """The attempt brought a certificate: all else is forgotten."""
        return RenewalState(names=self.names, last_attempt=self.last_attempt, last_success=now)

    def interrupt(self, now: datetime) -> RenewalState:
        """An orderly stop in the middle of an attempt: neither a failure nor a licence to order at once again."""
        failures = max(0, self.failures - 1)
        return evolve(self, failures=failures, next_attempt=now + STOP_PATIENCE, running=False)

    def restart(self) -> RenewalState:
        """What a new process makes of the record: long waits that the CA did not ask for are cut short."""
        if self.running or self.retry_after or self.last_attempt is None or self.next_attempt is None:
            return self
        return evolve(self, next_attempt=min(self.next_attempt, self.last_attempt + RESTART_PATIENCE))

    def to_json(self) -> bytes:
        """For the disk, and for a human who looks there."""
        document = {
            "version": _VERSION,
            "names": list(self.names),
            "last_attempt": _to_text(self.last_attempt),
            "last_success": _to_text(self.last_success),
            "failures": self.failures,
            "problem": self.problem,
            "next_attempt": _to_text(self.next_attempt),
            "retry_after": self.retry_after,
            "running": self.running,
        }
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> RenewalState:
        """
        Read what ``to_json`` wrote; unknown keys are left to newer versions.

        :raises StoreError: it is something else.
        """
        try:
            document = json.loads(content)
            if document["version"] != _VERSION:
                raise ValueError(f"version {document['version']!r} is not known here")
            return cls(
                names=tuple(_typed(name, str) for name in _typed(document["names"], list)),
                last_attempt=_to_time(document["last_attempt"]),
                last_success=_to_time(document["last_success"]),
                failures=max(0, _typed(document["failures"], int)),
                problem=_typed(document["problem"], str),
                next_attempt=_to_time(document["next_attempt"]),
                retry_after=_typed(document["retry_after"], bool),
                running=_typed(document["running"], bool),
            )
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise StoreError(f"not a renewal record: {error!r}") from error


@frozen
class Loaded:
    """The records that were found, fresh ones for the others, and what is to be complained about."""

    states: dict[str, RenewalState] = field(factory=dict)
    complaints: list[StoreError] = field(factory=list)


@frozen
class StateFolder:
    """``DIRECTORY/NAME.json``, one per site. Blocks on the disk: to be called in a thread."""

    directory: Path

    def load(self, sites: Iterable[str], now: datetime) -> Loaded:
        """Read the records of ``sites``, by name. Never fails: one of no use is set aside, and a fresh one begun."""
        loaded = Loaded()
        try:
            atomicfile.remove_temporaries(self.directory)
        except StoreError as error:
            loaded.complaints.append(error)
        for site in sites:
            loaded.states[site] = RenewalState()
            try:
                content = atomicfile.read(self._path(site))
                if content is not None:
                    loaded.states[site] = RenewalState.from_json(content).restart()
            except StoreError as error:
                loaded.complaints.append(StoreError(f"{self._path(site)}: {error}; begins afresh"))
                self._set_aside(self._path(site), now, loaded)
        return loaded

    def save(self, site: str, state: RenewalState) -> None:
        """
        Write one record, atomically.

        :raises StoreError: it cannot be written, or ``site`` is no name for a file.
        """
        atomicfile.check_name(site)
        atomicfile.make_private_folder(self.directory)
        atomicfile.replace(self._path(site), state.to_json())

    def _path(self, site: str) -> Path:
        return self.directory / f"{site}.json"

    def _set_aside(self, path: Path, now: datetime, loaded: Loaded) -> None:
        try:
            atomicfile.set_aside(path, now)
        except StoreError as error:
            loaded.complaints.append(error)


def _to_text(time: datetime | None) -> str | None:
    return time.isoformat() if time is not None else None


def _to_time(text: Any) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(_typed(text, str))
    if time.utcoffset() is None:
        raise ValueError(f"{text} has no time zone")
    return time


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
