"""The rounds: every contender in turn, again and again, so that a noisy minute hits them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from bench import proxies
from bench.client import check, trust
from bench.cpu import cpu_time
from bench.credentials import Credentials
from bench.idle import idle_connection_bytes
from bench.load import WORKS, Work, run_load
from bench.origin import Origin
from bench.programs import BenchError
from bench.proxies import Contender, Proxy

IDLE = "idle"
"""The name of the work that counts memory, beside those of :data:`bench.load.WORKS`."""

WARM_UP_SECONDS = 1

T = TypeVar("T")


@frozen
class Sample:
    """One measurement of one contender."""

    work: str
    proxy: str
    round: int
    cost: float
    """CPU microseconds per request; for ``idle``, bytes per connection."""
    rate: float = 0.0
    """Requests per second of wall clock; 0 for ``idle``."""


@frozen
class Plan:
    """What to measure, on which ground."""

    contenders: Sequence[Proxy]
    works: Sequence[str]
    rounds: int
    seconds: int
    folder: Path
    credentials: Credentials
    proxy_core: int
    load_core: int


def run_contest(plan: Plan, origin: Origin, say: Callable[[str], None]) -> list[Sample]:
    """Check every contender, then measure; raises :exc:`BenchError` as soon as a figure could not be trusted."""
    samples: list[Sample] = []
    with ExitStack() as stack:
        running = [_start(plan, proxy, origin, stack, "serving") for proxy in plan.contenders]
        for work in (WORKS[name] for name in plan.works if name in WORKS):
            say(f"{work.name}: {work.title}")
            samples += _compare_requests(plan, work, running, say)
    if IDLE in plan.works:
        say("idle: memory of idle TLS connections")
        samples += _compare_memory(plan, origin, say)
    return samples


def _start(plan: Plan, proxy: Proxy, origin: Origin, stack: ExitStack, purpose: str) -> Contender:
    """Start one and see that it serves; the stack ends it."""
    folder = plan.folder / proxy.name / purpose
    contender = proxies.start(proxy, folder, origin.port, plan.credentials, plan.proxy_core)
    stack.enter_context(contender.program)
    check(proxy.name, contender.port, trust(plan.credentials))
    return contender


def _compare_requests(plan: Plan, work: Work, running: Sequence[Contender], say: Callable[[str], None]) -> list[Sample]:
    samples = []
    for contender in running:
        run_load(work, contender.port, WARM_UP_SECONDS, plan.load_core, plan.folder)
    for number in range(plan.rounds):
        for contender in rotated(running, number):
            sample = _measure(plan, work, contender, number)
            say(f"  round {number + 1}  {sample.proxy:<10} {sample.cost:9.1f} µs {sample.rate:9.0f}/s")
            samples.append(sample)
    return samples


def _measure(plan: Plan, work: Work, contender: Contender, number: int) -> Sample:
    before = cpu_time(contender.pid)
    try:
        served = run_load(work, contender.port, plan.seconds, plan.load_core, plan.folder)
    except BenchError as error:
        raise BenchError(f"{contender.name}, {work.name}: {error}\n{contender.program.log_tail()}") from error
    used = (cpu_time(contender.pid) - before).total
    return Sample(work.name, contender.name, number, used / served.requests * 1e6, served.requests / served.seconds)


def _compare_memory(plan: Plan, origin: Origin, say: Callable[[str], None]) -> list[Sample]:
    samples = []
    for number in range(plan.rounds):
        for proxy in rotated(plan.contenders, number):
            with ExitStack() as stack:
                contender = _start(plan, proxy, origin, stack, f"idle-{number}")
                held = idle_connection_bytes(contender, plan.credentials)
            say(f"  round {number + 1}  {proxy.name:<10} {held / 1024:9.1f} KiB a connection")
            samples.append(Sample(IDLE, proxy.name, number, held))
    return samples


def rotated(items: Sequence[T], number: int) -> list[T]:
    """Return the items beginning with another one each round, so that none is always the first."""
    start = number % len(items)
    return [*items[start:], *items[:start]]
