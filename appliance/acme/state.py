"""What is remembered of a site's renewals, so that a restart neither forgets a deadline nor repeats an order."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from attrs import evolve, field, frozen

from appliance import atomicfile
from appliance.acme import record
from appliance.acme.ari import Inquiry
from appliance.acme.fallback import AuthorityRecord
from appliance.acme.losses import Loss
from appliance.acme.request import Unfinished
from appliance.errors import Problem, StoreError
from appliance.tls.certificate import Certificate

RESTART_PATIENCE = timedelta(minutes=15)
"""A restart, being perhaps somebody's attempt at a repair, need not wait longer than this since the last failure."""

LOST_ORDER_PATIENCE = timedelta(minutes=10)
"""How soon there may be another order after one whose answer was never seen: the CA may well have taken it."""

MAX_HISTORY = 20

_VERSION = 1


@frozen
class Attempt:
    """One that has ended."""

    at: datetime
    names: tuple[str, ...]
    authority: str
    outcome: str
    """What went wrong, in words; empty if a certificate came of it."""


@frozen
class RenewalState:
    """One site's record. All times are aware, UTC, by the wall clock: they outlive the process."""

    names: tuple[str, ...] = ()
    """What the last attempt was for: failing for other names says nothing about these."""
    last_attempt: datetime | None = None
    last_success: datetime | None = None
    failures: int = 0
    """Attempts in a row that brought no certificate. One is counted when it begins: a crash is a failure."""
    unreached: int = 0
    """How many of these never reached the CA, so that they say nothing about the next one."""
    problem: str = ""
    """What went wrong last, in words for the operator; empty after a success."""
    document: Problem | None = None
    """The CA's own account of it, if it gave one."""
    next_attempt: datetime | None = None
    """No attempt before this."""
    waiting: str = ""
    """Why not, if it is not for failures."""
    retry_after: bool = False
    """That time was named by the CA."""
    running: bool = False
    """An attempt is under way, or was when the process was killed."""
    authority: str = ""
    """Which CA the newest certificate is from; empty if that is not known."""
    host: str = ""
    """The host of that CA's directory; empty if it is not known."""
    authorities: dict[str, AuthorityRecord] = field(factory=dict)
    """How each CA has failed since the last success."""
    losses: tuple[Loss, ...] = ()
    """Names that are left out for now."""
    inquiry: Inquiry | None = None
    """What the CA says of renewing the newest certificate."""
    unfinished: Unfinished | None = None
    """The order to go on with."""
    rehearsed: tuple[str, ...] = ()
    """What a rehearsal succeeded for."""
    history: tuple[Attempt, ...] = ()
    """The last attempts, the newest one last."""

    def begin(self, names: Iterable[str], now: datetime, next_attempt: datetime) -> RenewalState:
        """An attempt begins; ``next_attempt`` is for the next process, should this one not survive it."""
        return evolve(
            self,
            names=tuple(names),
            last_attempt=now,
            failures=self.failures + 1,
            next_attempt=next_attempt,
            waiting="",
            retry_after=False,
            running=True,
        )

    def fail(self, problem: str, next_attempt: datetime | None, retry_after: bool = False) -> RenewalState:
        """The attempt brought no certificate."""
        return evolve(self, problem=problem, next_attempt=next_attempt, retry_after=retry_after, running=False)

    def succeed(
        self, now: datetime, authority: str = "", losses: tuple[Loss, ...] = (), host: str = ""
    ) -> RenewalState:
        """The attempt brought a certificate: all else is forgotten, but for the names that are not in it."""
        return RenewalState(
            names=self.names,
            last_attempt=self.last_attempt,
            last_success=now,
            authority=authority,
            host=host,
            losses=losses,
            problem=self.problem if losses else "",
            document=self.document if losses else None,
            history=self.history,
        )

    def hold(self, until: datetime, why: str, now: datetime) -> RenewalState:
        """No attempt before ``until``, though none has failed: set now, whatever the clock said at the last attempt."""
        last_attempt = min(self.last_attempt, now) if self.last_attempt is not None else None
        return evolve(
            self, last_attempt=last_attempt, next_attempt=until, waiting=why, retry_after=False, running=False
        )

    def interrupt(self) -> RenewalState:
        """An orderly stop in the middle of an attempt: no failure.

        The next process goes on at once, with the order if there is one: the CA may be checking already. Only one that
        the CA may have taken or not is not repeated soon.
        """
        next_attempt = self._after_lost_order() if self._may_have_ordered() else None
        return evolve(self, failures=max(0, self.failures - 1), next_attempt=next_attempt, running=False)

    def restart(self) -> RenewalState:
        """What a new process makes of the record.

        An order that was under way is gone on with at once. One that the CA may have taken or not is not repeated
        soon. Long waits that the CA did not ask for are cut short.
        """
        if self.running and self._has_order():
            return evolve(self, next_attempt=None)
        if self.last_attempt is None or self.next_attempt is None:
            return self._with_losses_cut()
        if self._may_have_ordered():
            return evolve(self, next_attempt=self._after_lost_order())
        if self.running or self.retry_after or self.waiting:
            return self._with_losses_cut()
        cut = evolve(self, next_attempt=min(self.next_attempt, self.last_attempt + RESTART_PATIENCE))
        return cut._with_losses_cut()

    def forget_waits(self, now: datetime, names: Container[str] | None = None) -> RenewalState:
        """What waits for failures waits no longer; what the CA or our budgets said stands.

        Of lost names, only ``names``, if given, which are without ``*.``.
        """
        losses = tuple(
            evolve(loss, next_attempt=now)
            if loss.problem.retry_after is None and (names is None or loss.name.removeprefix("*.") in names)
            else loss
            for loss in self.losses
        )
        held = self.retry_after or self.waiting
        return evolve(self, losses=losses, next_attempt=self.next_attempt if held else None)

    def is_from(self, authority: str, host: str) -> bool:
        """Whether the newest certificate is from this CA, which may have been called something else then."""
        if self.host and host:
            return self.host == host
        return self.authority in (authority, host)

    def inquiry_of(self, certificate: Certificate | None) -> Inquiry | None:
        """What is known from asking about this certificate, if it was asked about."""
        inquiry = self.inquiry
        if inquiry is None or certificate is None or inquiry.serial != f"{certificate.serial:x}":
            return None
        return inquiry

    def remember(self, attempt: Attempt) -> RenewalState:
        """Add to the history; of failures that repeat each other, the latest stands for all."""
        earlier = self.history
        if attempt.outcome and earlier and evolve(earlier[-1], at=attempt.at) == attempt:
            earlier = earlier[:-1]
        return evolve(self, history=(*earlier, attempt)[-MAX_HISTORY:])

    def to_json(self) -> bytes:
        """For the disk, and for a human who looks there. With the key of an unfinished order: 0600."""
        fields = {"version": _VERSION, **record.dump(self)}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
        return f"{{\n{lines}\n}}\n".encode()

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
            state = record.load(cls, document)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise StoreError(f"not a renewal record: {error!r}") from error
        return state if state.failures >= 0 else evolve(state, failures=0)

    def _has_order(self) -> bool:
        return self.unfinished is not None and self.unfinished.url is not None

    def _may_have_ordered(self) -> bool:
        lost = self.unfinished is not None and self.unfinished.url is None
        return lost and self.last_attempt is not None and self.next_attempt is not None

    def _after_lost_order(self) -> datetime:
        """Ten times the usual wait, which for certificates of seconds is short, up to ``LOST_ORDER_PATIENCE``."""
        assert self.last_attempt is not None
        assert self.next_attempt is not None
        usual = self.next_attempt - self.last_attempt
        return max(self.next_attempt, self.last_attempt + min(10 * usual, LOST_ORDER_PATIENCE))

    def _with_losses_cut(self) -> RenewalState:
        if self.last_attempt is None or not self.losses:
            return self
        soon = self.last_attempt + RESTART_PATIENCE
        losses = (
            loss if loss.problem.retry_after is not None else evolve(loss, next_attempt=min(loss.next_attempt, soon))
            for loss in self.losses
        )
        return evolve(self, losses=tuple(losses))


@frozen
class Loaded:
    """The records that were found, fresh ones for the others, and what is to be complained about."""

    states: dict[str, RenewalState] = field(factory=dict)
    complaints: list[StoreError] = field(factory=list)


@frozen
class StateFolder:
    """``DIRECTORY/NAME.json``, one per site. Blocks on the disk: to be called in a thread."""

    directory: Path

    def load(self, sites: Iterable[str], now: datetime, clean: bool = True) -> Loaded:
        """Read the records of ``sites``, by name. Never fails: one of no use is set aside, and a fresh one begun.

        ``clean`` removes what writes that were cut off have left: not while there are others under way.
        """
        loaded = Loaded()
        try:
            if clean:
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
