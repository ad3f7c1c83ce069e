"""The alarm as a service: real programs, a real web server, a clock of the test's own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, execute
from twisted.internet.process import reapAllProcesses
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from appliance.acme.state import RenewalState
from appliance.config.alarm import Alarm
from appliance.ops.alarm.concern import Message
from appliance.ops.alarm.notify import Notifier
from appliance.ops.alarm.service import AT_ONCE, INTERVAL, PAUSE, AlarmService
from appliance.ops.status.document import AfterSwap
from tests.support.certificates import make_certificate
from tests.support.loop import Loop, loop
from tests.support.reports import NOW, MadeReport

DAY = timedelta(days=1)
LATE = MadeReport(
    serving=make_certificate(["one.test"], not_before=NOW - 76 * DAY, not_after=NOW + 14 * DAY),
    state=RenewalState(failures=4, problem="the CA said no"),
)
WELL = MadeReport(serving=make_certificate(["one.test"], not_before=NOW - DAY, not_after=NOW + 89 * DAY))
MESSAGE = Message("one.test", False, "late", "is overdue", NOW)


def now_in_place(work: Callable[[], Any]) -> Deferred[Any]:
    """Instead of a thread."""
    return execute(work)


class Heard(Notifier):
    """Notes what is sent, and says what a test wants it to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.taken = True

    async def send(self, message: Message) -> bool:
        self.messages.append(message)
        return self.taken


class Watched:
    """An alarm on one site."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.heard = Heard()
        self.report = LATE
        self.file = folder / "alarms.json"
        self.reports: Callable[[], list[Any]] = lambda: [self.report]
        self.service = self.start()

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.clock.seconds())

    def start(self) -> AlarmService:
        service = AlarmService(
            self.clock, self.now, lambda: self.reports(), lambda _: AfterSwap(), self.heard, self.file, now_in_place
        )
        service.startService()
        return service

    def hours(self, count: float) -> None:
        self.clock.pump([INTERVAL] * int(count * 3600 / INTERVAL))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.service.stopService()
    assert made.clock.getDelayedCalls() == []


def test_once_a_day_and_when_it_is_over(watched: Watched) -> None:
    """Whatever the restarts in between."""
    watched.hours(1)
    assert [message.kind for message in watched.heard.messages] == ["late"]
    watched.service.stopService()
    watched.service = watched.start()
    watched.hours(1)
    assert len(watched.heard.messages) == 1
    watched.hours(23)
    assert len(watched.heard.messages) == 2
    watched.report = WELL
    watched.hours(30)
    assert [message.recovered for message in watched.heard.messages] == [False, False, True]
    looked_at = SynchronousTestCase().successResultOf(Deferred.fromCoroutine(watched.service.concerns()))
    assert looked_at == {"one.test": None}


def test_thousands_of_sites_are_looked_at_in_turns(watched: Watched) -> None:
    """Others have theirs in between."""
    watched.reports = lambda: [evolve(WELL, site=f"{number}.test") for number in range(2 * AT_ONCE + 1)]
    looking = Deferred.fromCoroutine(watched.service.concerns())
    for _ in range(2):
        assert not looking.called
        watched.clock.advance(PAUSE)
    assert len(SynchronousTestCase().successResultOf(looking)) == 2 * AT_ONCE + 1


def test_while_nobody_takes_it_it_is_offered_again(watched: Watched) -> None:
    """Every quarter of an hour."""
    watched.heard.taken = False
    watched.hours(1)
    assert len(watched.heard.messages) == 4
    watched.heard.taken = True
    watched.hours(1)
    assert len(watched.heard.messages) == 5


def test_before_the_store_is_read_nothing_is_well_again(watched: Watched) -> None:
    """No reports are no news."""
    watched.hours(1)
    watched.reports = list
    watched.hours(1)
    assert len(watched.heard.messages) == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"one.test": {"kind": 7}}'])
def test_a_broken_record_is_told_and_replaced(tmp_path: Path, content: str) -> None:
    """Rather an alarm too many than none."""
    (tmp_path / "alarms.json").write_text(content)
    watched = Watched(tmp_path)
    watched.hours(1)
    watched.service.stopService()
    assert len(watched.heard.messages) == 1
    assert json.loads(watched.file.read_text())["one.test"]["kind"] == "late"


def test_nothing_stops_it(watched: Watched, tmp_path: Path) -> None:
    """Neither a record that cannot be written nor a fault in a report."""
    watched.file.mkdir()
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        watched.hours(1)
        assert len(watched.heard.messages) == 1
        watched.reports = lambda: [None]
        watched.hours(0.1)
        watched.reports = lambda: [WELL]
        watched.hours(0.1)
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert watched.heard.messages[-1].recovered
    assert any("unexpected error of the alarm" in str(event.get("log_format")) for event in events)


class Hook:
    """A web server that takes POSTs."""

    def __init__(self) -> None:
        self.status = 204
        self.bodies: list[Any] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response_only(hook.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.stop()


@pytest.fixture
def turning() -> Iterator[Loop]:
    with loop() as made:
        yield made


def send(turning: Loop, settings: Alarm, message: Message = MESSAGE) -> tuple[bool, str]:
    """Whether it was taken, and what was logged."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        results: list[Any] = []
        notifier = Notifier(turning.reactor, settings, now_in_place)
        Deferred.fromCoroutine(notifier.send(message)).addBoth(results.append)
        turning.until(lambda: reapAllProcesses() or results)
    finally:
        globalLogPublisher.removeObserver(events.append)
    return results[0], " ".join(str(event.get("error", "")) for event in events)


def test_webhook(turning: Loop, hook: Hook) -> None:
    """JSON with all that there is to say; redirects and refusals are failures."""
    assert send(turning, Alarm(webhook=hook.url)) == (True, "")
    (body,) = hook.bodies
    assert (body["event"], body["site"], body["kind"]) == ("alarm", "one.test", "late")
    assert body["message"] == "one.test is overdue"
    for hook.status in (302, 500):
        assert send(turning, Alarm(webhook=hook.url)) == (False, f"http://127.0.0.1 answered {hook.status}")


@pytest.mark.parametrize("rest", ["127.0.0.1:{port}/hush", "127.0.0.1/hu sh", "hush:hush@127.0.0.1/"])
def test_a_webhook_that_cannot_be_asked(turning: Loop, rest: str) -> None:
    """What is logged leads nobody to it: whoever knows such a URL can write there."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    taken, error = send(turning, Alarm(webhook="http://" + rest.format(port=port)))
    assert not taken
    assert error
    assert "hu" not in error


def program(folder: Path, script: str) -> Path:
    """A shell script."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_command(turning: Loop, tmp_path: Path) -> None:
    """The same object on its standard input, the main parts in its environment."""
    out = tmp_path / "out"
    script = program(tmp_path, f'cat > {out}; echo "$APPLIANCE_EVENT $APPLIANCE_SITE $1" >> {out}')
    recovered = Message("one.test", True, "late", "is well again", NOW)
    assert send(turning, Alarm(command=(str(script), "x")), recovered) == (True, "")
    first, last = out.read_text().rsplit("}", 1)
    assert json.loads(first + "}")["event"] == "recovered"
    assert last.strip() == "recovered one.test x"


def test_mail(turning: Loop, tmp_path: Path) -> None:
    """A message that sendmail finds its way with."""
    out = tmp_path / "out"
    script = program(tmp_path, f'echo "$@" > {out}; cat >> {out}')
    assert send(turning, Alarm(email="admin@example.com", sendmail=script)) == (True, "")
    text = out.read_text()
    assert text.startswith("-i -t\n")
    assert "To: admin@example.com" in text
    assert "Subject: Certificate alarm: one.test" in text
    assert "appliance doctor one.test" in text


def test_ways_that_fail_are_logged_and_the_others_are_used(turning: Loop, hook: Hook, tmp_path: Path) -> None:
    """A program that fails, one that is not there."""
    script = program(tmp_path, "echo out of paper >&2; exit 3")
    settings = Alarm(command=(str(script), "hush"), email="a@b.test", sendmail=tmp_path / "none", webhook=hook.url)
    taken, errors = send(turning, settings)
    assert taken
    assert f"{script} failed: status 3: out of paper" in errors
    assert not send(turning, Alarm(email="a@b.test", sendmail=tmp_path / "none"))[0]
    assert send(turning, Alarm()) == (False, "")
    assert not Alarm().ways
