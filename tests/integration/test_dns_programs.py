"""Other programs for DNS-01: how they are run, bounded and quoted; the operator's hook; responders of others."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface import implementer

from appliance.acme.dns.exec_hook import ExecHook
from appliance.acme.dns.lexicon import LexiconRecords
from appliance.acme.dns.process import TAIL, Ended, run
from appliance.acme.dns.record import TxtRecord
from appliance.acme.dns.third_party import ThirdParty
from appliance.config.dns import CustomResponder, DnsHook, Lexicon, NameServer
from appliance.errors import ResponderError
from tests.support.processes import eventually

clock: Any = reactor
RECORD = TxtRecord("one.test", "_acme-challenge.one.test", "value", "token", "token.thumb")


def python(code: str, timeout: float = 20.0, stdin: bytes = b"") -> Deferred[Ended]:
    return run(clock, [sys.executable, "-c", code], os.environ, timeout, stdin)


async def refusal(coroutine: Any) -> str:
    """What it says when it fails, as it must."""
    try:
        await coroutine
    except ResponderError as error:
        return str(error)
    raise AssertionError("it did not fail")


class Processes(TestCase):
    """``run``."""

    timeout = 60

    async def test_success(self) -> None:
        """No problem, whatever was printed; standard input is delivered, and ended."""
        assert await python("import sys; print(sys.stdin.read()[::-1])", stdin=b"abc") == Ended("", "cba")

    async def test_failure(self) -> None:
        """Status or signal; the end of what was printed, on one line, without what a terminal would obey."""
        assert await python("print('a\\n\\x1b[1mb'); raise SystemExit(3)") == Ended("status 3", "a [1mb")
        assert (await python("import os; os.kill(os.getpid(), 9)")).problem == "signal 9"
        long = await python("print('x' * 100000 + 'end'); raise SystemExit(1)")
        assert len(long.tail) <= TAIL
        assert long.tail.endswith("xend")

    async def test_too_slow(self) -> None:
        """Asked to end, it ends; the time is said."""
        began = time.monotonic()
        assert (await python("import time; time.sleep(60)", timeout=0.5)).problem == "no end within 0.5 s"
        assert time.monotonic() - began < 10

    async def test_cancelled(self) -> None:
        """The program is gone soon after."""
        pidfile = Path(self.enterContext(tempfile.TemporaryDirectory())) / "pid"
        running = python(f"import os, time; open({str(pidfile)!r}, 'w').write(str(os.getpid()) + ' '); time.sleep(60)")
        pid = int(
            await eventually(
                clock, lambda: pidfile.exists() and pidfile.read_text().endswith(" ") and pidfile.read_text()
            )
        )
        running.cancel()
        await self.assertFailure(running, CancelledError)
        await eventually(clock, lambda: not Path(f"/proc/{pid}").exists(), what="the end of the program")

    async def test_children_that_stay(self) -> None:
        """A program that leaves something behind with its output open does not hold us up."""
        code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(10)'])"
        began = time.monotonic()
        assert (await python(code)).problem == ""
        assert time.monotonic() - began < 8

    def test_secrets_are_blotted_out(self) -> None:
        """The longest first, so that nothing of one that contains another is left."""
        ended = Ended("status 1", "https://api.test/?token=abcdef&user=abcd of us")
        assert ended.words(["abcd", "abcdef", "us"]) == "status 1: https://api.test/?token=***&user=*** of us"
        assert Ended("status 1", "").words() == "status 1"


class Hooks(TestCase):
    """The operator's program."""

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def hook(self, script: str, timeout: float = 20.0) -> ExecHook:
        program = self.folder / "hook"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        return ExecHook(clock, DnsHook((str(program), "--flag"), timeout))

    async def test_arguments_and_environment(self) -> None:
        """Both tell the same."""
        out = self.folder / "out"
        environment = "$APPLIANCE_ACTION $APPLIANCE_DOMAIN $APPLIANCE_RECORD $APPLIANCE_VALUE"
        hook = self.hook(f'echo "$@" "{environment}" >>{out}')
        await hook.present(RECORD)
        await hook.withdraw(RECORD)
        told = "one.test _acme-challenge.one.test value"
        assert out.read_text().splitlines() == [
            f"--flag {action} {told} {action} {told}" for action in ("present", "cleanup")
        ]

    async def test_failures_in_words(self) -> None:
        """The program without its arguments, the action, the record, what it printed."""
        said = await refusal(self.hook("echo 'no such zone' >&2; exit 7").present(RECORD))
        assert said.endswith("hook present for _acme-challenge.one.test failed: status 7: no such zone")
        assert "no end within 0.3 s" in await refusal(self.hook("exec sleep 30", 0.3).withdraw(RECORD))

    async def test_a_program_that_is_gone(self) -> None:
        """It was there when the configuration was read."""
        said = await refusal(ExecHook(clock, DnsHook(("/nowhere/hook",))).present(RECORD))
        assert "the DNS hook /nowhere/hook present for _acme-challenge.one.test" in said
        assert "No such file" in said


class Lexicons(TestCase):
    """dns-lexicon in its process."""

    timeout = 60

    async def test_an_unknown_service(self) -> None:
        """In lexicon's words, the credentials blotted out of them."""
        self.patch(os, "environ", {**os.environ, "LEXICON_NOSUCH_TOKEN": "from-environment"})
        records = LexiconRecords(clock, Lexicon("nosuch", {"auth_token": "nosuch"}), [NameServer("127.0.0.1", 1)])
        said = await refusal(records.present(RECORD))
        assert "nosuch (by lexicon) did not create the TXT record _acme-challenge.one.test: status 1: " in said
        assert "not answer" in said or "failed to answer" in said or "not supported" in said


@implementer(IResponder)
@define
class Responder:
    """Somebody else's."""

    challenge_type: str = "dns-01"
    failing: bool = False
    calls: list[tuple[str, str, str, str]] = field(factory=list)

    def start_responding(self, server_name: str, challenge: Any, response: Any) -> None:
        self.calls.append(
            (
                server_name,
                challenge.validation_domain_name(server_name),
                challenge.encode("token"),
                response.key_authorization,
            )
        )
        if self.failing:
            raise ValueError("their trouble")

    stop_responding = start_responding


MADE: list[Responder] = []


def make(*, failing: bool = False, kind: str = "dns-01") -> Responder:
    """A factory without a reactor."""
    MADE.append(Responder(kind, failing))
    return MADE[-1]


def make_with_reactor(reactor: Any) -> Responder:
    """A factory with one."""
    assert reactor is clock
    return make()


def refuse() -> Responder:
    """A factory that fails."""
    raise RuntimeError("no credentials")


class ThirdParties(TestCase):
    """Responders by dotted name."""

    def setUp(self) -> None:
        sys.modules["third_party_for_tests"] = sys.modules[__name__]
        self.addCleanup(sys.modules.pop, "third_party_for_tests")

    def publisher(self, name: str, **options: Any) -> ThirdParty:
        return ThirdParty(CustomResponder(f"third_party_for_tests:{name}", options), clock)

    async def test_what_it_gets(self) -> None:
        """The domain, a challenge that says where the record belongs, the key authorization; made once."""
        before = len(MADE)
        publisher = self.publisher("make_with_reactor")
        await publisher.present(RECORD)
        await publisher.withdraw(RECORD)
        (made,) = MADE[before:]
        assert made.calls == [("one.test", "_acme-challenge.one.test", "token", "token.thumb")] * 2

    async def test_its_failures(self) -> None:
        """Are told with its name."""
        said = await refusal(self.publisher("make", failing=True).present(RECORD))
        assert said == (
            "responder third_party_for_tests:make: start_responding for _acme-challenge.one.test failed:"
            " ValueError: their trouble"
        )

    async def test_what_cannot_be_made(self) -> None:
        """Is said when it is needed, and does not keep other sites from being served."""
        assert "cannot be made: RuntimeError: no credentials" in await refusal(self.publisher("refuse").present(RECORD))
        assert "cannot be made: TypeError" in await refusal(self.publisher("make", wrong=1).present(RECORD))
        assert "made Ended, which does not provide" in await refusal(
            self.publisher("Ended", problem="", tail="").present(RECORD)
        )
        assert "is for http-01" in await refusal(self.publisher("make", kind="http-01").present(RECORD))
