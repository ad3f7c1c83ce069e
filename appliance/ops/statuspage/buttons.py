"""What may be pressed on the status page: which buttons there are, who may press them, and what came of it.

A button is only there if the service has the command, and does nothing but what the page offered: what it is about, and
all arguments, are looked up here, none come from the browser. Who presses must have read the page before, which a page
of somebody else's cannot: each button has a token.
"""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from appliance.errors import ApplianceError
from appliance.ops.control.server import Command
from appliance.ops.status.document import Document

LIFETIME = 3600.0
"""Seconds that a token is good for, at least; at most twice that."""
KEPT = 5
"""Outcomes that are remembered."""
AT_ONCE = 16
"""Actions under way."""


class NotPressedError(ApplianceError):
    """A press that is not obeyed: its button is not there, its token not good, or too much is under way."""


@frozen
class Button:
    """One of them."""

    command: str
    label: str
    site: str = ""
    """What it is about; empty for the whole service."""
    on: bool | None = None
    """For switches: what it switches to."""

    @property
    def key(self) -> str:
        """Tells it from all others."""
        return f"{self.command} {self.site} {'' if self.on is None else self.on}"

    @property
    def arguments(self) -> dict[str, Any]:
        """For the command."""
        arguments: dict[str, Any] = {"site": self.site} if self.site else {}
        return arguments if self.on is None else {**arguments, "on": self.on}


@define
class Outcome:
    """What came of a press."""

    at: datetime
    button: Button
    done: bool = False
    """Otherwise it is under way."""
    problem: str = ""
    """What went wrong."""


def for_service(commands: Mapping[str, Command]) -> Iterator[Button]:
    """Those about all."""
    if "reload" in commands:
        yield Button("reload", "Reload the configuration")


def for_site(commands: Mapping[str, Command], site: Document) -> Iterator[Button]:
    """Those about one site, which is as in ``status``."""
    if "renew" in commands:
        yield Button("renew", "Try again now" if site["failures"] else "Renew if it is due", site["site"])
    if "maintenance" in commands and "maintenance" in site:
        on = bool(site["maintenance"])
        yield Button("maintenance", "End maintenance" if on else "Begin maintenance", site["site"], not on)


class Panel:
    """The buttons of a running service."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, now: Callable[[], datetime], commands: Mapping[str, Command], enabled: bool
    ) -> None:
        """``commands`` is looked at each time; without ``enabled`` there are no buttons."""
        self._clock = clock
        self._now = now
        self._commands = commands
        self._secret = secrets.token_bytes(32)
        self._outcomes: deque[Outcome] = deque(maxlen=KEPT)
        self._under_way = 0
        self.enabled = enabled

    @property
    def outcomes(self) -> list[Outcome]:
        """The latest, the newest one first."""
        return list(reversed(self._outcomes))

    def of_service(self) -> list[Button]:
        """See ``for_service``."""
        return list(for_service(self._commands)) if self.enabled else []

    def of_site(self, site: Document) -> list[Button]:
        """See ``for_site``."""
        return list(for_site(self._commands, site)) if self.enabled else []

    def token(self, button: Button) -> str:
        """What the page hands out with a button."""
        return self._token(button, self._period())

    def press(self, status: Document, key: str, token: str) -> Deferred[None]:
        """
        Begin what a button of the page says; what comes of it is told in ``outcomes``, and fires nothing but None.

        :param status: as of now: what was offered before and makes no sense any longer is not done.
        :raises NotPressedError: nothing was begun.
        """
        offered = [*self.of_service(), *(button for site in status["sites"] for button in self.of_site(site))]
        button = next((button for button in offered if button.key == key), None)
        if button is None:
            raise NotPressedError("There is no such button any more.")
        good = [self._token(button, self._period() - age) for age in (0, 1)]
        if not any(hmac.compare_digest(each.encode(), token.encode("utf-8", "replace")) for each in good):
            raise NotPressedError("The page was too old, or of a service that has been restarted since.")
        if self._under_way >= AT_ONCE:
            raise NotPressedError("Too much is under way already.")
        outcome = Outcome(self._now(), button)
        self._outcomes.append(outcome)
        self._log.info(
            "{command} {site}, by the status page",
            command=button.command,
            site=button.site,
            on=button.on,
        )
        return Deferred.fromCoroutine(self._act(outcome))

    async def _act(self, outcome: Outcome) -> None:
        button = outcome.button
        self._under_way += 1
        try:
            result = self._commands[button.command].call(button.arguments)
            told = result if isinstance(result, Mapping) else await result
            outcome.problem = _problem(told)
        except ApplianceError as error:
            outcome.problem = str(error)
        except Exception as error:
            self._log.failure("unexpected error in {command}, by the status page", command=button.command)
            outcome.problem = f"unexpected error: {type(error).__name__}: {error}; the log has more"
        finally:
            self._under_way -= 1
            outcome.done = True

    def _period(self) -> int:
        return int(self._clock.seconds() // LIFETIME)

    def _token(self, button: Button, period: int) -> str:
        return hmac.new(self._secret, f"{period} {button.key}".encode(), "sha256").hexdigest()


def _problem(told: Mapping[str, Any]) -> str:
    """What a command that did its work says went wrong: of an order, that it failed."""
    site = told.get("site")
    problem = site.get("problem") if isinstance(site, dict) else None
    return str(problem["message"]) if problem else ""


def is_same_origin(origin: str | None, host: str, fetch_site: str | None) -> bool:
    """
    Whether a request was made by a page of ours, as its browser tells (the Fetch standard, and Fetch Metadata).

    ``Origin`` must be there: browsers send it with every POST. ``Sec-Fetch-Site`` is missing in old ones.
    """
    return origin is not None and origin.lower() == f"http://{host.lower()}" and fetch_site in (None, "same-origin")
