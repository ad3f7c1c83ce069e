"""Upgrades in which something happens: an order is under way, a process dies, hangs or is told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from websockets.exceptions import ConnectionClosed

from appliance.acme.state import RenewalState
from appliance.errors import ApplianceError
from appliance.ops.control.client import CommandFailedError, act, ask
from appliance.process.upgrade import UpgradeError, Upgrading
from tests.support.appliance import Load, serial_of
from tests.support.applications import Application, uvicorn
from tests.support.certificates import shared_authority
from tests.support.generations import Generations, alive, successors
from tests.support.pebble import running_pebble
from tests.support.processes import accepts, wait_for
from tests.support.websocket import open_websocket


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with uvicorn(tmp_path_factory.mktemp("application")) as application:
        yield application


@pytest.fixture
def generations(tmp_path: Path, application: Application) -> Iterator[Generations]:
    made = Generations(tmp_path, application)
    yield made
    made.stop()


def ask_for(generations: Generations, command: str) -> threading.Thread:
    """A command, whatever becomes of it."""

    def ask() -> None:
        with contextlib.suppress(ApplianceError):
            act(generations.appliance.state_dir, command, 60)

    asking = threading.Thread(target=ask)
    asking.start()
    return asking


def ask_for_upgrade(generations: Generations) -> threading.Thread:
    """By the command."""
    return ask_for(generations, "upgrade")


def the_new_one(generations: Generations) -> int:
    """The process that is to take over, as soon as there is one."""
    (pid,) = generations.appliance.wait_for(lambda: successors(generations.appliance), 30, "a new process")
    return pid


def holder(generations: Generations) -> int:
    """The process that has the state folder, as is written there."""
    return int((generations.appliance.state_dir / "lock").read_text().strip() or 0)


def test_an_order_under_way(tmp_path: Path, application: Application) -> None:
    """It is finished, though the CA takes its time to validate: the new process begins with its certificate."""
    generations = Generations(tmp_path, application)
    appliance = generations.appliance
    with running_pebble(appliance.http_port, retry_after={"authz": 2, "order": 2}, no_sleep=False) as pebble:
        appliance.configure([(["two.test"], application.upstream)], pebble.directory_url, pebble.ca_file)

        def ordered() -> bool:
            path = appliance.state_dir / "renewal" / "two.test.json"
            unfinished = RenewalState.from_json(path.read_bytes()).unfinished if path.exists() else None
            return unfinished is not None and bool(unfinished.url)

        try:
            generations.start()
            appliance.wait_for(ordered, 20, "an order")
            generations.upgrade()
            assert serial_of(appliance, "two.test", pebble.root()) is not None
            assert not ordered()
            assert pebble.output().count("Added order") == 1
            assert "Traceback" not in appliance.output()
        finally:
            generations.stop()


def test_the_time_of_the_old_clients_runs_out(tmp_path: Path, application: Application) -> None:
    """They are told to go, and the old process ends; nobody else notices."""
    generations = Generations(tmp_path, application)
    appliance, root = generations.appliance, shared_authority().pem
    appliance.config.write_text(f'upgrade_timeout = "2s"\n{appliance.config.read_text()}')
    try:
        generations.start()
        with (
            Load(appliance, "one.test", root, "/echo", keep_alive=True) as load,
            open_websocket(appliance.https_port, root) as old,
        ):
            old.send("here")
            assert old.recv(10) == "here"
            generations.upgrade()
            with open_websocket(appliance.https_port, root) as new:
                with pytest.raises(ConnectionClosed) as closed:
                    old.recv(30)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1001
                assert appliance.wait(20) == 0
                new.send("here")
                assert new.recv(10) == "here"
        assert load.failures == []
        assert "cut off" not in appliance.output()
        assert "Traceback" not in appliance.output()
    finally:
        generations.stop()


@pytest.mark.parametrize("when", ["it is there", "it has the state folder"])
def test_the_old_process_is_killed(generations: Generations, when: str) -> None:
    """In the middle of it: the new one serves on the same sockets, by itself; clients have waited, none was refused."""
    generations.start()
    appliance = generations.appliance
    asking = ask_for_upgrade(generations)
    pid = the_new_one(generations)
    generations.pids.append(pid)
    if when != "it is there":
        wait_for(lambda: holder(generations) == pid, 30, when)
    appliance.send(signal.SIGKILL)
    with appliance.client("one.test", shared_authority().pem) as client:
        assert client.get("/echo").status == 200
    asking.join(60)
    wait_for(lambda: generations.serving() == pid, 10, "its commands being answered")
    assert holder(generations) == pid
    assert successors(appliance) == {pid}
    assert appliance.wait() == -signal.SIGKILL
    generations.upgrade()
    assert "Traceback" not in appliance.output()


@pytest.mark.parametrize("when", ["it is asked for", "it has begun"])
def test_told_to_end(generations: Generations, when: str) -> None:
    """Before the new process serves: neither is left."""
    generations.start()
    appliance = generations.appliance
    asking = ask_for_upgrade(generations)
    appliance.wait_for(lambda: "upgrade: starting" in appliance.output(), 20, "the upgrade")
    if when == "it has begun":
        the_new_one(generations)
    appliance.send(signal.SIGTERM)
    assert appliance.wait(30) == 0
    asking.join(60)
    assert successors(appliance) == set()
    assert not accepts(appliance.https_port)
    assert "Traceback" not in appliance.output()


def test_the_new_process_is_stopped_and_killed(generations: Generations) -> None:
    """While it hangs the old one serves, and goes on when it is gone."""
    generations.start()
    appliance = generations.appliance
    with Load(appliance, "one.test", shared_authority().pem, "/echo", keep_alive=False) as load:
        asking = ask_for_upgrade(generations)
        hung = the_new_one(generations)
        os.kill(hung, signal.SIGSTOP)
        before = load.requests
        wait_for(lambda: load.requests > before + 10, 20, "requests meanwhile")
        os.kill(hung, signal.SIGKILL)
        asking.join(60)
        assert generations.serving() == generations.pids[0] == holder(generations)
        generations.upgrade()
        load.stop()
        assert load.failures == []
    assert not alive(hung)


def refusal(generations: Generations, command: str, **arguments: object) -> str:
    """Why a command was not done."""
    with pytest.raises(CommandFailedError) as refused:
        act(generations.appliance.state_dir, command, **arguments)
    assert refused.value.status == 409
    return str(refused.value)


def test_what_is_asked_for_during_an_upgrade(tmp_path: Path, application: Application) -> None:
    """The new process would not know: it is refused while the old one waits for an order, and then the new one does it.

    The CA takes connections and does not answer, until the test closes them.
    """
    generations = Generations(tmp_path, application)
    appliance, root = generations.appliance, shared_authority().pem
    held = "the appliance is being upgraded: try again in a moment"
    with socket.create_server(("127.0.0.1", 0)) as authority:
        directory = f"https://127.0.0.1:{authority.getsockname()[1]}/directory"
        sites = [(["one.test"], application.upstream), (["two.test"], application.upstream)]
        appliance.configure(sites, directory)
        try:
            generations.start()
            authority.settimeout(20)
            with authority.accept()[0]:
                asking = ask_for_upgrade(generations)
                generations.pids.append(the_new_one(generations))
                appliance.configure([*sites, (["three.test"], application.upstream)], directory)
                assert refusal(generations, "reload") == held
                assert refusal(generations, "maintenance", site="one.test", on=True) == held
                appliance.send(signal.SIGHUP)
                refused = f"reload was not done: {held}"
                wait_for(lambda: appliance.output().count(refused) == 2, 20, "the signal in the log")
                assert "is being replaced already" in refusal(generations, "upgrade")
                assert generations.serving() == generations.pids[0]
                authority.close()
            asking.join(60)
            assert generations.serving() == generations.pids[1]
            act(appliance.state_dir, "reload")
            act(appliance.state_dir, "maintenance", site="one.test", on=True)
            with appliance.client("one.test", root) as client:
                assert client.get("/echo").status == 503
            assert "Traceback" not in appliance.output()
        finally:
            generations.stop()


def test_a_reload_under_way(tmp_path: Path, application: Application) -> None:
    """It ends before the new process is started: as long as a worker has not done its part, in this case."""
    generations = Generations(tmp_path, application)
    appliance = generations.appliance
    appliance.config.write_text(f"workers = 2\n{appliance.config.read_text()}")

    def told(key: str) -> dict[str, Any]:
        found: dict[str, Any] = ask(appliance.state_dir, "status")[key]
        return found

    def held() -> bool:
        with contextlib.suppress(CommandFailedError):
            act(appliance.state_dir, "maintenance", site="one.test", on=False)  # as it is
            return False
        return True

    try:
        generations.start()
        appliance.wait_for(lambda: told("workers")["serving"] == 2, 20, "the worker")
        (worker,) = (each["pid"] for each in told("workers")["processes"])
        os.kill(worker, signal.SIGSTOP)
        try:
            site = f'[[site]]\nnames = ["two.test"]\nupstream = "{application.upstream}"\n'
            appliance.config.write_text(appliance.config.read_text() + site)
            reloading = ask_for(generations, "reload")
            appliance.wait_for(lambda: told("configuration")["sites"] == 2, 20, "the reload")
            asking = ask_for_upgrade(generations)
            appliance.wait_for(held, 20, "the upgrade")
            assert "upgrade: starting" not in appliance.output()
        finally:
            os.kill(worker, signal.SIGCONT)
        reloading.join(60)
        asking.join(60)
        generations.pids.append(generations.serving())
        assert generations.pids[1] != generations.pids[0]
        assert told("configuration")["sites"] == 2
        assert appliance.output().index("reloaded: added two.test") < appliance.output().index("upgrade: starting")
        assert "Traceback" not in appliance.output()
    finally:
        generations.stop()


def test_a_store_that_cannot_be_read_any_more(generations: Generations) -> None:
    """The new process takes the commands, and fails: they reach the old one again, and it can be upgraded."""
    generations.start()
    appliance = generations.appliance
    certificates = appliance.state_dir / "certificates"
    certificates.rename(appliance.state_dir / "aside")
    certificates.touch()
    with pytest.raises(CommandFailedError, match="the certificate store cannot be read"):
        act(appliance.state_dir, "upgrade", 60)
    assert generations.serving() == generations.pids[0] == holder(generations)
    assert act(appliance.state_dir, "reload")["summary"] == "nothing has changed"
    certificates.unlink()
    (appliance.state_dir / "aside").rename(certificates)
    generations.upgrade()
    assert "Traceback" not in appliance.output()


def test_the_new_process_is_killed_when_it_has_the_commands(generations: Generations) -> None:
    """While it reads the certificates, for as long as the test wants: the old one has the commands again."""
    generations.start()
    appliance = generations.appliance
    commands = appliance.state_dir / "control.sock"
    before = commands.stat().st_ino
    slow = appliance.state_dir / "certificates" / "slow.test.pem"
    os.mkfifo(slow)
    asking = ask_for_upgrade(generations)
    pid = the_new_one(generations)
    wait_for(lambda: commands.stat().st_ino != before, 30, "the commands being the new one's")
    slow.unlink()
    os.kill(pid, signal.SIGKILL)
    asking.join(60)
    assert generations.serving() == generations.pids[0] == holder(generations)
    assert act(appliance.state_dir, "reload")["summary"] == "nothing has changed"
    generations.upgrade()
    assert "Traceback" not in appliance.output()


SAY = """
import json, os, sys, time
link = json.loads(os.environ["APPLIANCE_INHERITED"])["link"]
def say(word): os.write(link, word.encode() + b"\\n")
def hear(): return os.read(link, 100)
"""


class Old:
    """A service that says what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.held: Deferred[None] = succeed(None)

    def sockets(self) -> Mapping[str, int]:
        """See Service."""
        return {}

    async def hold(self) -> None:
        """See Service."""
        self.asked.append("hold")
        await self.held

    def release(self) -> None:
        """See Service."""
        self.asked.append("release")

    async def hand_over(self) -> None:
        """See Service."""
        self.asked.append("hand over")

    def take_back(self) -> None:
        """See Service."""
        self.asked.append("take back")

    async def leave(self, successor: int) -> None:
        """See Service."""
        self.asked.append("leave")

    async def retire(self) -> None:
        """See Service."""


class NewProcesses(TestCase):
    """What a new process may do instead of what it should."""

    def upgrade(self, script: str, patience: float = 30.0) -> tuple[Old, Upgrading]:
        """An upgrade to a Python program."""
        self.patch(sys, "orig_argv", ["python", "-I", "-S", "-c", SAY + script])
        service = Old()
        defer: Callable[[Callable[[], Any]], Deferred[Any]] = deferToThread
        upgrading = Upgrading(reactor, service, defer, {}, patience)
        upgrading.allow()
        return service, upgrading

    async def refused(self, upgrading: Upgrading) -> str:
        """Why it came to nothing; another one might be asked for."""
        with pytest.raises(UpgradeError) as refused:
            await upgrading.upgrade()
        return str(refused.value)

    async def _test(self, script: str, words: str, asked: list[str], patience: float = 30.0) -> None:
        service, upgrading = self.upgrade(script, patience)
        for _ in range(2):
            told = await self.refused(upgrading)
            assert words in told
            assert "goes on" in told
        assert service.asked == ["hold", *asked, "release"] * 2

    def test_that_hangs_at_once(self) -> Deferred[None]:
        """Its time runs out."""
        return Deferred.fromCoroutine(self._test("time.sleep(60)", 'no word "prepared" of it within 1 s', [], 1.0))

    def test_that_hangs_when_it_should_begin(self) -> Deferred[None]:
        """Its time runs out; what was handed over is taken back."""
        script = 'say("prepared"); hear(); time.sleep(60)'
        told = 'no word "serving" of it within 1 s'
        return Deferred.fromCoroutine(self._test(script, told, ["hand over", "take back"], 1.0))

    def test_that_fails_when_it_should_begin(self) -> Deferred[None]:
        """Its last words are passed on."""
        script = 'say("prepared"); hear(); sys.exit("no such luck")'
        return Deferred.fromCoroutine(self._test(script, "It said: no such luck", ["hand over", "take back"]))

    def test_that_says_something_else(self) -> Deferred[None]:
        """Another version of the program, perhaps."""
        script = 'say("preparing"); time.sleep(60)'
        return Deferred.fromCoroutine(self._test(script, 'it said "preparing" instead of "prepared"', []))

    def test_that_is_given_up(self) -> Deferred[None]:
        """The old one is told to end before it knows the new one: it ends that first, and takes nothing back."""
        return Deferred.fromCoroutine(self._test_that_is_given_up())

    async def _test_that_is_given_up(self) -> None:
        service, upgrading = self.upgrade('say("prepared"); hear(); time.sleep(60)')
        upgrade = Deferred.fromCoroutine(self.refused(upgrading))
        await upgrading.give_up()
        assert "told to end" in await upgrade
        assert "about to end" in await self.refused(upgrading)
        assert service.asked == ["hold", "release"]

    def test_that_is_not_begun(self) -> Deferred[None]:
        """What is under way does not end: no process is started, and the next upgrade is another chance."""
        return Deferred.fromCoroutine(self._test_that_is_not_begun())

    async def _test_that_is_not_begun(self) -> None:
        service, upgrading = self.upgrade("", 0.1)
        service.held = Deferred()
        assert "a reload under way has not ended within 0.1 s" in await self.refused(upgrading)
        assert service.asked == ["hold", "release"]
        service.held = succeed(None)
        assert "goes on" in await self.refused(upgrading)
