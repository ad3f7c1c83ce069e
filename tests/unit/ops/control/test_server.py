"""Commands over the socket, both ends: a real reactor, a real socket, the client in a thread."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import globalLogPublisher

from appliance.errors import ApplianceError, ConfigurationError, Mistake, StoreError
from appliance.ops.boundedrequest import MAX_BODY
from appliance.ops.control import unixsocket
from appliance.ops.control.client import CommandFailedError, NotRunningError, act, ask, runs
from appliance.ops.control.server import MAX_CONNECTIONS, Arguments, Command, ControlService, flag, text
from tests.support.loop import Loop, loop

T = TypeVar("T")


def refuse(arguments: Arguments) -> dict[str, Any]:
    raise ApplianceError("that cannot be done: because")


def mistaken(arguments: Arguments) -> dict[str, Any]:
    raise ConfigurationError((Mistake("acme", "is missing"), Mistake("site[0].x", "is not known", 3)), "a.toml")


def break_(arguments: Arguments) -> dict[str, Any]:
    raise RuntimeError("a fault")


class Served:
    """A control service in ``folder``, and a client of it."""

    def __init__(self, made: Loop, folder: Path) -> None:
        self.loop = made
        self.folder = folder
        self.held: list[Deferred[dict[str, Any]]] = []
        commands = {
            "status": Command(lambda _: {"fine": True}, acts=False),
            "echo": Command(lambda arguments: {"site": text(arguments, "site"), "force": flag(arguments, "force")}),
            "later": Command(lambda _: succeed({"late": True})),
            "never": Command(self.hold),
            "refuse": Command(refuse),
            "mistaken": Command(mistaken),
            "break": Command(break_),
        }
        self.service = ControlService(made.reactor, folder, commands)
        self.service.startService()

    def hold(self, arguments: Arguments) -> Deferred[dict[str, Any]]:
        self.held.append(Deferred())
        return self.held[-1]

    def call(self, work: Callable[[], T]) -> T:
        """Run a client's work in a thread while the reactor turns."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(work)
            self.loop.until(future.done)
            return future.result()

    def raw(self, request: bytes) -> bytes:
        """Send bytes, read to the end."""

        def talk() -> bytes:
            with unixsocket.connect(self.folder, 5) as connection:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                answer = b""
                while data := connection.recv(65536):
                    answer += data
                return answer

        return self.call(talk)

    def stop(self) -> None:
        done: list[object] = []
        self.service.stopService().addBoth(done.append)
        self.loop.until(lambda: done)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / ("long" * 40)
    with loop() as made:
        serving = Served(made, folder)
        yield serving
        if serving.service.running:
            serving.stop()


def test_asking_and_acting(served: Served) -> None:
    """Under a path far longer than a socket's address; arguments and answers are JSON."""
    assert served.call(lambda: ask(served.folder, "status")) == {"fine": True}
    answer = served.call(lambda: act(served.folder, "echo", site="one.test", force=True))
    assert answer == {"site": "one.test", "force": True}
    assert served.call(lambda: act(served.folder, "later")) == {"late": True}


def test_only_the_owner_may(served: Served) -> None:
    """The socket is 0600 in a folder of 0700, and nothing else is left beside it."""
    assert stat.S_IMODE(os.stat(served.folder / "control.sock").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(served.folder).st_mode) == 0o700
    assert os.listdir(served.folder) == ["control.sock"]


@pytest.mark.parametrize(
    ("command", "arguments", "status", "words"),
    [
        ("refuse", {}, 409, "that cannot be done: because"),
        ("mistaken", {}, 422, "a.toml: acme: is missing\na.toml: line 3: site"),
        ("echo", {}, 400, "site must be text"),
        ("echo", {"site": 1}, 400, "site must be text"),
        ("echo", {"site": "a", "force": "yes"}, 400, "force must be true or false"),
        ("nothing", {}, 404, "v1 has break, echo"),
        ("status", {}, 400, "by GET"),
        ("echo", {"site": "x" * MAX_BODY}, 400, "larger than"),
    ],
)
def test_refusals(served: Served, command: str, arguments: dict[str, Any], status: int, words: str) -> None:
    """Each with its status, and in words."""
    with pytest.raises(CommandFailedError, match=words) as caught:
        served.call(lambda: act(served.folder, command, **arguments))
    assert caught.value.status == status


def test_a_fault_of_ours_is_told_and_logged(served: Served) -> None:
    """The service goes on."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        with pytest.raises(CommandFailedError, match="RuntimeError: a fault; its log has more"):
            served.call(lambda: act(served.folder, "break"))
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert any("unexpected error in the command" in (event.get("log_format") or "") for event in events)
    assert served.call(lambda: ask(served.folder, "status")) == {"fine": True}


@pytest.mark.parametrize("body", [b"[]", b"{", b"[" * 60000])
def test_bodies_that_are_no_object(served: Served, body: bytes) -> None:
    """400, whatever they are."""
    request = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = served.raw(request + body)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"JSON" in answer


@pytest.mark.parametrize("path", [b"/", b"/v1", b"/v2/status", b"/v1/status/x", b"/%00"])
def test_paths_that_are_not_known(served: Served, path: bytes) -> None:
    """404."""
    answer = served.raw(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_what_was_begun_goes_on_when_the_asker_goes_away(served: Served) -> None:
    """And its answer is dropped without a word."""
    connection = unixsocket.connect(served.folder, 5)
    connection.sendall(b"POST /v1/never HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    served.loop.until(lambda: served.held)
    connection.close()
    served.loop.turn(20)
    served.held[0].callback({"done": True})
    assert served.call(lambda: ask(served.folder, "status")) == {"fine": True}


def test_there_are_only_so_many_connections(served: Served) -> None:
    """One too many is closed at once, and there is room again when others have gone."""
    held = [unixsocket.connect(served.folder, 5) for _ in range(MAX_CONNECTIONS)]
    served.loop.turn(MAX_CONNECTIONS + 10)
    with pytest.raises(CommandFailedError, match="closed the connection"):
        served.call(lambda: ask(served.folder, "status"))
    for connection in held:
        connection.close()
    served.loop.turn(MAX_CONNECTIONS + 10)
    assert served.call(lambda: ask(served.folder, "status")) == {"fine": True}


def test_after_the_stop_nobody_is_there(served: Served) -> None:
    """The socket is gone, and the client says what to do."""
    connection = unixsocket.connect(served.folder, 5)
    served.loop.turn(10)
    served.stop()
    assert connection.recv(1) == b""
    connection.close()
    assert os.listdir(served.folder) == []
    with pytest.raises(NotRunningError, match=f"no appliance is running with state_dir {served.folder}"):
        ask(served.folder, "status")
    assert not runs(served.folder)


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """As a kill leaves it: nobody listens, and the next start takes the name."""
    with loop() as made:
        stale = unixsocket.listen(tmp_path)
        stale.publish()
        stale.socket.close()
        with pytest.raises(NotRunningError):
            ask(tmp_path, "status")
        served = Served(made, tmp_path)
        assert served.call(lambda: runs(tmp_path))
        assert served.call(lambda: ask(tmp_path, "status")) == {"fine": True}
        served.stop()
        os.close(stale._folder)


def test_the_newest_of_two_is_found_and_the_older_does_not_take_its_name_away(tmp_path: Path) -> None:
    """As when a new process takes over."""
    with loop() as made:
        older, newer = Served(made, tmp_path), Served(made, tmp_path)
        older.stop()
        assert newer.call(lambda: ask(tmp_path, "status")) == {"fine": True}
        newer.stop()


def test_a_name_is_taken_back_from_a_process_that_has_ended(tmp_path: Path) -> None:
    """It listens under the name again; where the name is its own still, it goes on as it was."""
    with loop() as made:
        served = Served(made, tmp_path)
        newer = unixsocket.listen(tmp_path)
        newer.publish()
        newer.socket.close()
        os.close(newer._folder)
        with pytest.raises(NotRunningError):
            ask(tmp_path, "status")
        seen = []
        for _ in range(2):
            served.service.take_back()
            seen.append(os.stat(tmp_path / "control.sock").st_ino)
            assert served.call(lambda: ask(tmp_path, "status")) == {"fine": True}
        assert seen[0] == seen[1]
        assert os.listdir(tmp_path) == ["control.sock"]
        served.stop()
        assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_used_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service says so and runs without commands."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot create the folder"):
        unixsocket.listen(tmp_path / "file")
    monkeypatch.setattr(unixsocket.socket.socket, "listen", unable)
    with pytest.raises(StoreError, match="cannot listen on"):
        unixsocket.listen(tmp_path)
    monkeypatch.undo()
    (tmp_path / "control.sock").mkdir()
    made = unixsocket.listen(tmp_path)
    with pytest.raises(StoreError, match="no command will reach this process"):
        made.publish()
    made.socket.close()
    made.remove()
    assert sorted(os.listdir(tmp_path)) == ["control.sock", "file"]
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        with loop() as turning:
            Served(turning, tmp_path).stop()
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert any("no command will reach" in str(event.get("error", "")) for event in events)


def unable(*_: object) -> None:
    raise OSError(12, "Cannot allocate memory")


def answering(folder: Path, answer: bytes) -> socket.socket:
    """A listener that answers one connection with ``answer``."""
    made = unixsocket.listen(folder)
    made.publish()
    made.socket.setblocking(True)
    os.close(made._folder)

    def serve() -> None:
        connection, _ = made.socket.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    ThreadPoolExecutor(1).submit(serve)
    return made.socket


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "nothing that makes sense"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{x", "nothing that makes sense"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}", "answered 500"),
        (b"nonsense\r\n", "closed the connection before it answered"),
        (b"", "closed the connection before it answered"),
    ],
)
def test_answers_that_make_no_sense(tmp_path: Path, answer: bytes, words: str) -> None:
    """Something else listens there."""
    with answering(tmp_path, answer), pytest.raises(CommandFailedError, match=words):
        ask(tmp_path, "status")


def test_a_service_that_does_not_answer(tmp_path: Path) -> None:
    """Is given up, and what it does goes on."""
    made = unixsocket.listen(tmp_path)
    made.publish()
    with made.socket, pytest.raises(CommandFailedError, match=r"did not answer within 0\.1 s"):
        act(tmp_path, "renew", 0.1)
    with made.socket:
        made.remove()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (PermissionError(13, "Permission denied"), CommandFailedError, "run this as root"),
        (TimeoutError("timed out"), CommandFailedError, "too busy"),
        (BlockingIOError(11, "again"), CommandFailedError, "too busy"),
        (FileNotFoundError(2, "No such file"), NotRunningError, "No such file"),
    ],
)
def test_why_it_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError, kind: type[Exception], words: str
) -> None:
    """Each reason has its own advice."""

    def fail(folder: Path, timeout: float) -> socket.socket:
        raise error

    monkeypatch.setattr(unixsocket, "connect", fail)
    with pytest.raises(kind, match=words):
        ask(tmp_path, "status")


def test_the_document_can_be_looked_at_with_curl(served: Served) -> None:
    """It is plain HTTP with JSON."""
    answer = served.raw(b"GET /v1/status HTTP/1.1\r\nHost: appliance\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    assert json.loads(body) == {"fine": True}
