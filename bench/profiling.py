"""``bench/profile``: the appliance under the load of ``bench/compare``, with profilers on it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from bench import proxies
from bench.client import check, trust
from bench.command import cores, some_of
from bench.contest import WARM_UP_SECONDS
from bench.cpu import cpu_time
from bench.credentials import Credentials, make_credentials
from bench.load import WORKS, Work, run_load
from bench.origin import start_origin
from bench.profilers import PROFILERS, Profiler
from bench.programs import BenchError

DESCRIPTION = "Where the time of a request goes, as profilers see it."


def main() -> int:
    """Run the profilers one after the other; returns the exit status."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that all we started ends
    try:
        _run(options)
    except BenchError as error:
        print(f"bench/profile: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/profile", description=DESCRIPTION)
    parser.add_argument("--work", choices=[*WORKS], default="small", help="under which load (small)")
    parser.add_argument("--seconds", type=int, default=5, help="how long each profiler looks (5)")
    parser.add_argument("--lines", type=int, default=40, help="length of each table (40)")
    parser.add_argument("--with", dest="profilers", type=some_of(PROFILERS), default=[*PROFILERS], metavar="NAMES")
    return parser.parse_args()


def _run(options: argparse.Namespace) -> None:
    load_core, proxy_core = cores()
    os.sched_setaffinity(0, {load_core})
    work = WORKS[options.work]
    print(f"{work.title}; {proxies.Appliance().version()}")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        credentials = make_credentials(folder)
        origin = start_origin(folder / "origin", load_core)
        with origin:
            for name in options.profilers:
                missing = PROFILERS[name].missing()
                if missing:
                    print(f"\n{name} is left out; missing {missing}")
                    continue
                bench = _Bench(folder, credentials, origin.port, proxy_core, load_core)
                for table in bench.profile(PROFILERS[name](folder), work, options.seconds, options.lines):
                    print(f"\n{table}", flush=True)


class _Bench:
    """Where each profiler finds a fresh appliance."""

    def __init__(self, folder: Path, credentials: Credentials, origin: int, proxy_core: int, load_core: int) -> None:
        self._folder = folder
        self._credentials = credentials
        self._origin = origin
        self._proxy_core = proxy_core
        self._load_core = load_core

    def profile(self, profiler: Profiler, work: Work, seconds: int, length: int) -> list[str]:
        """Start an appliance, load it once without and once with the profiler; return a summary and tables."""
        folder = self._folder / f"appliance-{profiler.name}"
        contender = proxies.start(profiler.appliance, folder, self._origin, self._credentials, self._proxy_core)
        with contender.program:
            check(contender.name, contender.port, trust(self._credentials))
            self._load(work, contender, WARM_UP_SECONDS)
            summary, _, _ = self._load(work, contender, seconds)
            profiler.begin(contender.pid, seconds)
            _, requests, cost = self._load(work, contender, seconds)
            return [summary, *profiler.end(requests, cost, length)]

    def _load(self, work: Work, contender: proxies.Contender, seconds: int) -> tuple[str, int, float]:
        """Return a line on what it took, the requests, and the CPU microseconds of each."""
        before = cpu_time(contender.pid)
        served = run_load(work, contender.port, seconds, self._load_core, self._folder)
        used = cpu_time(contender.pid) - before
        user, system = (part / served.requests * 1e6 for part in (used.user, used.system))
        rate = served.requests / served.seconds
        line = f"unprofiled: {user + system:.1f} µs a request: {user:.1f} user, {system:.1f} kernel; {rate:.0f}/s"
        return line, served.requests, user + system
