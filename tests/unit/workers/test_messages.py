"""What the main process and a worker say to each other, as bytes."""

from __future__ import annotations

import json

import pytest

from appliance.config import Acme, Configuration, ExternalAccount
from appliance.workers import messages
from appliance.workers.messages import SaidError, done, hear, report, said, told


def test_what_is_told() -> None:
    """Whole configurations arrive as they were."""
    configuration = Configuration((), acme=Acme(external_account=ExternalAccount("kid", "key")))
    for message in (
        messages.Begin(configuration, ("tcp:80",), frozenset({"one.test"}), messages.LogTo(print, "info")),
        messages.Swap("one.test", ("one.test",), b"pem"),
        messages.Withdraw(messages.Present("http-01", "one.test", "token", "answer")),
        messages.Hurry(),
    ):
        assert hear(told(message)) == message


def test_keys_are_not_shown() -> None:
    """Whatever is logged of a message."""
    assert "secret" not in repr(messages.Swap("one.test", (), b"secret"))
    assert "secret" not in repr(messages.Present("http-01", "one.test", "token", "secret"))


def test_what_is_said() -> None:
    """Answers and reports are told apart."""
    assert said(done()) == ("", {})
    assert said(done("no room")) == ("no room", {})
    assert said(report({"in_flight": 1})) == (None, {"in_flight": 1})


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[" * 100_000, b"1", json.dumps({"done": 1}).encode(), b'{"report": []}', told(messages.Leave())],
)
def test_nonsense(data: bytes) -> None:
    """Workers are not believed anything else, a pickle least of all."""
    with pytest.raises(SaidError):
        said(data)
