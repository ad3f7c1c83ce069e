"""The access log as a service: batches, slow and full disks, rotation, the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from appliance.ops.accesslog import writer
from appliance.ops.accesslog.writer import AccessLog


class Disk:
    """A file in memory, and a thread that gets to its work when the test says so."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.error: OSError | None = None
        self.reopened = 0
        self.work: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __str__(self) -> str:
        return "access.log"

    def write(self, lines: bytes) -> None:
        if self.error is not None:
            raise self.error
        assert lines.endswith(b"\n")
        self.lines += lines.decode().splitlines()

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        """Nothing to close."""

    def defer(self, function: Callable[[], Any], /) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append((function, done))
        return done

    def turn(self) -> None:
        """The thread does all that there is."""
        while self.work:
            function, done = self.work.pop(0)
            try:
                result = function()
            except OSError as error:
                done.errback(error)
            else:
                done.callback(result)


class Path:
    """A running access log on a disk, with time in the test's hands."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.disk = Disk()
        self.log = AccessLog(self.clock, self.disk, self.disk.defer)
        self.log.startService()

    def add(self, *lines: str) -> None:
        self.log.write(lines)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.disk.turn()


@pytest.fixture
def path() -> Iterator[Path]:
    made = Path()
    yield made
    if made.log.running:
        made.log.stopService()
        made.disk.turn()
    assert not made.clock.getDelayedCalls()


@pytest.fixture
def said() -> Iterator[list[LogEvent]]:
    """What was logged of the access log."""
    events: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "appliance.ops.accesslog.writer.AccessLog":
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def test_written(path: Path) -> None:
    """What comes within a moment becomes one write."""
    path.add("a", "b")
    path.add("c")
    assert not path.disk.work
    path.clock.advance(writer.GATHER_SECONDS)
    assert len(path.disk.work) == 1
    path.disk.turn()
    assert path.disk.lines == ["a", "b", "c"]
    path.pass_time(1)
    assert not path.clock.getDelayedCalls()


def test_enough(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much is not kept waiting, and leaves nothing that would come to write nothing."""
    monkeypatch.setattr(writer, "ENOUGH", 4)
    path.add("a")
    path.add("b")
    assert len(path.disk.work) == 1
    assert not path.clock.getDelayedCalls()
    path.add("c")
    path.disk.turn()
    assert path.disk.lines == ["a", "b"]
    path.pass_time(1)
    assert path.disk.lines == ["a", "b", "c"]


def test_one_write_at_a_time(path: Path) -> None:
    """While the disk is at work, the next batches gather to one write."""
    path.add(*["a"] * 100)
    path.clock.advance(1)
    for name in "bc":
        path.add(*[name] * 100)
    path.clock.advance(1)
    assert len(path.disk.work) == 1
    path.disk.turn()
    path.pass_time(1)
    assert [line[0] for line in path.disk.lines] == ["a"] * 100 + ["b"] * 100 + ["c"] * 100
    assert path.log.lost == 0


def test_slow_disk(path: Path, said: list[LogEvent], monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs costs a bounded amount of memory; what goes beyond is dropped, which is said once."""
    monkeypatch.setattr(writer, "MOST_PENDING", 100)
    path.add("a" * 60)
    path.add("b" * 60)
    path.add("c")
    assert path.log.lost == 1
    path.pass_time(1)
    assert [line[0] for line in path.disk.lines] == ["a", "c"]
    assert ["too slow" in event["why"] for event in said[:1]] == [True]


def test_full_disk(path: Path, said: list[LogEvent]) -> None:
    """Lines are dropped and counted, once a minute it is said how many, and once when it is over."""
    path.disk.error = OSError(28, "No space left on device")
    for _ in range(90):
        path.add("a")
        path.pass_time(1)
    assert path.log.lost == 90
    assert [event["lost"] for event in said] == [1, 61]
    assert "No space left on device" in said[0]["why"]
    path.disk.error = None
    path.add("b")
    path.pass_time(1)
    assert [line[0] for line in path.disk.lines] == ["b"]
    assert "is written again" in said[-1]["log_format"]
    path.add("c")
    path.pass_time(1)
    assert len(said) == 3


def test_reopened(path: Path) -> None:
    """The target is told."""
    path.log.reopen()
    assert path.disk.reopened == 1


def test_stopped(path: Path) -> None:
    """Stopping waits until all is written; requests that end after that are written on the spot."""
    path.add("a")
    path.clock.advance(1)
    path.add("b")
    stopped = path.log.stopService()
    assert not stopped.called
    path.disk.turn()
    assert stopped.called
    path.add("c")
    assert [line[0] for line in path.disk.lines] == ["a", "b", "c"]
    path.disk.error = OSError(28, "No space left on device")
    path.add("d")
    assert path.log.lost == 1


def test_stopped_while_gathering(path: Path) -> None:
    """It waits for no more."""
    path.add("a")
    stopped = path.log.stopService()
    path.disk.turn()
    assert stopped.called
    assert path.disk.lines == ["a"]


def test_stopped_with_nothing_to_write(path: Path) -> None:
    """That is at once."""
    assert path.log.stopService().called
