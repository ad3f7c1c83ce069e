"""``bench/compare``: options, the run, the printed report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import asdict

from bench.contest import IDLE, Plan, Sample, run_contest
from bench.credentials import make_credentials
from bench.gate import failures
from bench.load import WORKS
from bench.origin import start_origin
from bench.programs import BenchError
from bench.proxies import PROXIES, VARIANTS, Proxy
from bench.report import Result, summarize, table

DESCRIPTION = "The appliance beside nginx, HAProxy and Caddy: CPU per request, memory per idle connection."


def main() -> int:
    """Run the comparison; returns the exit status: 1 if it failed or the gate did, 130 after Ctrl-C."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that all we started ends
    try:
        return _run(options)
    except BenchError as error:
        print(f"bench/compare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/compare", description=DESCRIPTION)
    known = [*PROXIES, *VARIANTS]
    parser.add_argument("--only", type=some_of(known), default=[*PROXIES], help="contenders: " + ",".join(known))
    works = [*WORKS, IDLE]
    parser.add_argument("--work", type=some_of(works), default=works, help="what to measure: " + ",".join(works))
    parser.add_argument("--rounds", type=_count, default=5, help="how often each contender has its turn (5)")
    parser.add_argument("--seconds", type=_count, default=2, help="seconds of one turn (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write samples, medians and the machine here")
    parser.add_argument("--gate", action="store_true", help="fail when a ratio that bench/gate.py names is missed")
    return parser.parse_args()


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return an option's type: names with commas between them, each one known; the result has the known ones' order."""

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(known)}")
        return [name for name in known if name in chosen]

    return names


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _run(options: argparse.Namespace) -> int:
    load_core, proxy_core = cores()
    os.sched_setaffinity(0, {load_core})
    chosen = [(PROXIES | VARIANTS)[name] for name in options.only]
    contenders = [proxy for proxy in chosen if not _left_out(proxy)]
    if not contenders:
        raise BenchError("no contender is left")
    versions = {proxy.name: proxy.version() for proxy in contenders}
    for name, version in versions.items():
        _say(f"{name:<10} {version}")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        plan = Plan(
            contenders=contenders,
            works=options.work,
            rounds=options.rounds,
            seconds=options.seconds,
            folder=folder,
            credentials=make_credentials(folder),
            proxy_core=proxy_core,
            load_core=load_core,
        )
        origin = start_origin(folder / "origin", load_core)
        with origin:
            samples = run_contest(plan, origin, _say)
    results = summarize(samples)
    print(table(results), flush=True)
    if options.json:
        _write_json(options.json, versions, samples, results)
    return _gate(results) if options.gate else 0


def cores() -> tuple[int, int]:
    """Return the load's core and the proxies'; one and the same, with a warning, if there is but one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        _say("only one core: proxies and load share it; requests per second say little")
    return cores[-1], cores[0]


def _left_out(proxy: Proxy) -> bool:
    missing = proxy.missing()
    if missing:
        _say(f"{proxy.name} is left out; missing {missing}")
    return missing is not None


def _gate(results: Sequence[Result]) -> int:
    missed = failures(results)
    for sentence in missed:
        print(f"gate missed: {sentence}", file=sys.stderr)
    return 1 if missed else 0


def _write_json(path: Path, versions: dict[str, str], samples: Sequence[Sample], results: Sequence[Result]) -> None:
    content = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"kernel": platform.release(), "processor": _processor(), "cores": os.cpu_count()},
        "versions": versions,
        "results": [asdict(result) for result in results],
        "samples": [asdict(sample) for sample in samples],
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _say(line: str) -> None:
    """Progress goes to stderr: stdout has the table alone."""
    print(line, file=sys.stderr, flush=True)
