"""``bench/growth``: many sites, swaps under load, many connections, and what a start costs; the appliance alone."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from attrs import frozen

from appliance.ops.control.client import act
from appliance.process import descriptors
from bench import programs
from bench.client import connect, get, trust
from bench.command import cores
from bench.contest import rotated
from bench.cpu import cpu_time, memory_bytes
from bench.credentials import HOST, Credentials, make_credentials
from bench.idle import SETTLE_SECONDS
from bench.load import WORKS, Work, run_load
from bench.manysites import ManySites
from bench.origin import start_origin
from bench.programs import BenchError
from bench.proxies import Contender, source_path, start

SITES = (10, 100, 1000, 10_000)
CONNECTIONS = (1, 4, 16, 64, 256, 1024, 4096)


@frozen
class Ground:
    """Where a run happens."""

    folder: Path
    credentials: Credentials
    origin: int
    proxy_core: int
    load_core: int
    rounds: int
    seconds: int


def main() -> int:
    """Run one of the measurements; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench/growth", description="How the appliance bears growth.")
    parser.add_argument("what", choices=MEASUREMENTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each turn; for swaps, of each run (2)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    descriptors.raise_limit()
    programs.START_SECONDS = 60.0
    try:
        with _ground(options.rounds, options.seconds) as ground:
            MEASUREMENTS[options.what](ground)
    except BenchError as error:
        print(f"bench/growth: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@contextmanager
def _ground(rounds: int, seconds: int) -> Iterator[Ground]:
    load_core, proxy_core = cores()
    os.sched_setaffinity(0, {load_core})
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        with start_origin(folder / "origin", load_core) as origin:
            credentials = make_credentials(folder)
            yield Ground(folder, credentials, origin.port, proxy_core, load_core, rounds, seconds)


def sites(ground: Ground) -> None:
    """From start to the first answer, memory for each site, and what a look-up adds to requests and handshakes."""
    print(f"{'sites':>6} {'first answer':>14} {'CPU':>8} {'memory':>10} {'each site':>11}")
    with ExitStack() as stack:
        running = []
        smallest = 0
        for count in SITES:
            contender, seconds = _start(ground, ManySites(count), stack)
            used = cpu_time(contender.pid).total
            time.sleep(SETTLE_SECONDS)
            held = memory_bytes(contender.pid)
            smallest = smallest or held
            each = f"{(held - smallest) / (count - SITES[0]) / 1024:.1f} KiB" if count > SITES[0] else "–"
            print(f"{count:>6} {seconds:>12.2f} s {used:>6.2f} s {held / 2**20:>6.1f} MiB {each:>11}", flush=True)
            running.append((count, contender))
        for name in ("small", "connect"):
            print(f"\n{WORKS[name].title}: CPU µs each, and × that with {SITES[0]} sites")
            costs = _rounds(ground, running, WORKS[name])
            for count, cost in costs.items():
                print(f"{count:>6} {cost:>9.1f} {cost / costs[SITES[0]]:>6.2f}", flush=True)


def swaps(ground: Ground) -> None:
    """Latency and failures with a swap each second and without, over open connections and over new ones."""
    with ExitStack() as stack:
        contender, _ = _start(ground, ManySites(10, generations=2), stack)
        state_dir = ground.folder / "sites-10" / "state"
        print(f"{'':<34} {'swaps':>6} {'requests':>9} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
        for name in ("small", "resume"):
            for swapping in (False, True):
                with _swapping(state_dir) if swapping else _nothing() as done:
                    got = run_load(WORKS[name], contender.port, ground.seconds, ground.load_core, ground.folder)
                what = f"{WORKS[name].reuse.name.lower()} kept, {'a swap each second' if swapping else 'no swaps'}"
                times = " ".join(f"{each:>8.2f}" for each in got.latency)
                print(f"{what:<34} {len(done):>6} {got.requests:>9} {times}", flush=True)
    print("no request failed: one that does fails the run")


def connections(ground: Ground) -> None:
    """Requests per second and their cost against the number of open connections."""
    print(f"{'connections':>11} {'requests/s':>11} {'CPU µs each':>12}")
    with ExitStack() as stack:
        contender, _ = _start(ground, ManySites(1), stack)
        for count in CONNECTIONS:
            turn = max(ground.seconds, count // 100)  # they have to be opened first
            costs, rates = [], []
            for _ in range(ground.rounds):
                before = cpu_time(contender.pid)
                got = run_load(WORKS["small"], contender.port, turn, ground.load_core, ground.folder, count)
                costs.append((cpu_time(contender.pid) - before).total / got.requests * 1e6)
                rates.append(got.requests / got.seconds)
            print(f"{count:>11} {median(rates):>11.0f} {median(costs):>12.1f}", flush=True)


def starting(ground: Ground) -> None:
    """What importing costs, and a start with one site to the first answer."""
    command = [sys.executable, "-c", "import appliance.tap"]
    imports, starts = [], []
    for number in range(ground.rounds):
        begun = time.monotonic()
        subprocess.run(command, env={**os.environ, **source_path()}, check=True, timeout=60)
        imports.append(time.monotonic() - begun)
        with ExitStack() as stack:
            _, seconds = _start(ground, ManySites(1), stack, f"start-{number}")
            starts.append(seconds)
    print(f"interpreter and imports {median(imports):6.2f} s, start to first answer {median(starts):6.2f} s")


MEASUREMENTS = {"sites": sites, "swaps": swaps, "connections": connections, "start": starting}


def _start(ground: Ground, proxy: ManySites, stack: ExitStack, name: str = "") -> tuple[Contender, float]:
    """Start one, and wait for its first answer: how long that took, without writing its files."""
    folder = ground.folder / (name or f"sites-{proxy.sites}")
    begun: list[float] = []
    prepare = proxy.prepare

    def prepared(setting: object) -> list[str]:
        command = prepare(setting)  # type: ignore[arg-type]
        begun.append(time.monotonic())
        return command

    proxy.prepare = prepared  # type: ignore[assignment,method-assign]
    contender = start(proxy, folder, ground.origin, ground.credentials, ground.proxy_core)
    stack.enter_context(contender.program)
    with connect(contender.port, trust(ground.credentials)) as connection:
        status, _ = get(connection, "/small")
    if status != 200:
        raise BenchError(f"the first answer of {folder.name} is {status}")
    return contender, time.monotonic() - begun[0]


def _rounds(ground: Ground, running: Sequence[tuple[int, Contender]], work: Work) -> dict[int, float]:
    costs: dict[int, list[float]] = {count: [] for count, _ in running}
    for number in range(ground.rounds):
        for count, contender in rotated(running, number):
            before = cpu_time(contender.pid)
            got = run_load(work, contender.port, ground.seconds, ground.load_core, ground.folder)
            costs[count].append((cpu_time(contender.pid) - before).total / got.requests * 1e6)
    return {count: median(each) for count, each in costs.items()}


@contextmanager
def _swapping(state_dir: Path) -> Iterator[list[float]]:
    """Go back to the previous certificate, which makes it the newest one, once a second."""
    done: list[float] = []
    over = threading.Event()

    def swap() -> None:
        while not over.wait(1.0):
            act(state_dir, "rollback", site=HOST)
            done.append(time.monotonic())

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


@contextmanager
def _nothing() -> Iterator[list[float]]:
    yield []
