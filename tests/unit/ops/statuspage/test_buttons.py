"""Buttons: which there are, who may press them, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from appliance.errors import ApplianceError
from appliance.ops.control.server import Arguments, Command
from appliance.ops.statuspage.buttons import (
    AT_ONCE,
    KEPT,
    LIFETIME,
    Button,
    NotPressedError,
    Panel,
    for_site,
    is_same_origin,
)
from tests.support.reports import NOW

SITE = {"site": "one.test", "failures": 0}
STATUS = {"sites": [SITE]}
RENEW = Button("renew", "Renew if it is due", "one.test")


class Service:
    """Commands that are noted; ``answer`` is what they come to."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer if answer is not None else {}
        self.done: list[tuple[str, Arguments]] = []
        self.clock = Clock()
        self.commands = {name: Command(self.command(name)) for name in ("renew", "reload", "revoke")}
        self.panel = Panel(self.clock, lambda: NOW, self.commands, True)

    def command(self, name: str) -> Any:
        def call(arguments: Arguments) -> Any:
            self.done.append((name, arguments))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return call

    def press(self, button: Button = RENEW, token: str | None = None, status: Any = STATUS) -> None:
        self.panel.press(status, button.key, self.panel.token(button) if token is None else token)


def test_buttons_are_for_commands_that_there_are() -> None:
    """Not for others, nor for all there are."""
    service = Service()
    assert [button.command for button in service.panel.of_service()] == ["reload"]
    assert [button.command for button in service.panel.of_site(SITE)] == ["renew"]
    assert [button.label for button in service.panel.of_site({**SITE, "failures": 1})] == ["Try again now"]
    none = Panel(Clock(), lambda: NOW, {}, True)
    assert none.of_service() == none.of_site(SITE) == []
    off = Panel(Clock(), lambda: NOW, service.commands, False)
    assert off.of_service() == off.of_site(SITE) == []


def test_a_switch() -> None:
    """Says what it switches to."""
    commands = {"maintenance": Command(lambda arguments: {})}
    (begin,) = for_site(commands, {**SITE, "maintenance": False})
    (end,) = for_site(commands, {**SITE, "maintenance": True})
    assert (begin.label, begin.arguments) == ("Begin maintenance", {"site": "one.test", "on": True})
    assert (end.label, end.arguments) == ("End maintenance", {"site": "one.test", "on": False})
    assert begin.key != end.key
    assert list(for_site(commands, SITE)) == []


def test_a_press() -> None:
    """Does what the button says, with arguments of ours."""
    service = Service()
    service.press()
    service.press(Button("reload", "", ""))
    assert service.done == [("renew", {"site": "one.test"}), ("reload", {})]
    assert [(each.button.command, each.done, each.problem) for each in service.panel.outcomes] == [
        ("reload", True, ""),
        ("renew", True, ""),
    ]


@pytest.mark.parametrize(
    ("button", "token"),
    [
        (RENEW, ""),
        (RENEW, "0" * 64),
        (RENEW, "\ud800é"),
        (Button("renew", "", "two.test"), None),
        (Button("revoke", "", "one.test"), None),
        (Button("rollback", "", "one.test"), None),
    ],
)
def test_a_press_that_is_refused(button: Button, token: str | None) -> None:
    """A token that is not ours; a site that is not there; a command that has no button, or does not exist."""
    service = Service()
    with pytest.raises(NotPressedError):
        service.press(button, token)
    assert service.done == []


def test_a_token_is_for_one_button_of_one_process() -> None:
    """For an hour or two."""
    service, other = Service(), Service()
    for token in (service.panel.token(Button("reload", "")), other.panel.token(RENEW)):
        with pytest.raises(NotPressedError, match="too old"):
            service.press(token=token)
    token = service.panel.token(RENEW)
    service.clock.advance(LIFETIME)
    service.press(token=token)
    service.clock.advance(LIFETIME)
    with pytest.raises(NotPressedError):
        service.press(token=token)


class Refusals(SynchronousTestCase):
    """What goes wrong in commands."""

    def test_foreseen_and_not(self) -> None:
        """Told on the page; what nobody foresaw is logged, too."""
        for error, words in (
            (ApplianceError("not now"), "not now"),
            (ValueError("x"), "unexpected error: ValueError: x"),
        ):
            service = Service(error)
            service.press()
            (outcome,) = service.panel.outcomes
            assert outcome.done
            assert words in outcome.problem
        assert len(self.flushLoggedErrors(ValueError)) == 1

    def test_an_order_that_failed(self) -> None:
        """The command did its work; the CA did not."""
        service = Service({"site": {"problem": {"message": "the CA said no"}}})
        service.press()
        assert service.panel.outcomes[0].problem == "the CA said no"

    def test_under_way(self) -> None:
        """Only so many; the outcomes that are kept are few, too."""
        waiting: list[Deferred[Mapping[str, Any]]] = []

        async def slowly(arguments: Arguments) -> Mapping[str, Any]:
            waiting.append(Deferred())
            return await waiting[-1]

        service = Service()
        service.commands["renew"] = Command(slowly)
        for _ in range(AT_ONCE):
            service.press()
        with pytest.raises(NotPressedError):
            service.press()
        outcomes = service.panel.outcomes
        assert [outcome.done for outcome in outcomes] == [False] * KEPT
        for each in waiting:
            each.callback({"site": {"problem": None}})
        assert [outcome.done for outcome in outcomes] == [True] * KEPT
        service.press()

    def test_it_is_logged(self) -> None:
        """Who looks at the log sees what was done by whom."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        Service().press()
        assert [event["command"] for event in events] == ["renew"]


@pytest.mark.parametrize(
    ("origin", "host", "fetch_site", "same"),
    [
        ("http://127.0.0.1:9145", "127.0.0.1:9145", "same-origin", True),
        ("http://LOCALHOST:9145", "localhost:9145", None, True),
        (None, "127.0.0.1:9145", "same-origin", False),
        ("null", "127.0.0.1:9145", None, False),
        ("http://127.0.0.1:8000", "127.0.0.1:9145", "same-site", False),
        ("http://evil.example", "127.0.0.1:9145", "cross-site", False),
        ("http://127.0.0.1:9145", "127.0.0.1:9145", "cross-site", False),
        ("http://127.0.0.1:9145", "127.0.0.1:9145", "none", False),
        ("https://127.0.0.1:9145", "127.0.0.1:9145", None, False),
        ("", "", None, False),
    ],
)
def test_origins(origin: str | None, host: str, fetch_site: str | None, same: bool) -> None:
    """As browsers tell them."""
    assert is_same_origin(origin, host, fetch_site) is same
