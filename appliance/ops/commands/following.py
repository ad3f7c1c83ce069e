"""Watching the service at work: ``status --watch``, and the steps of an order while a command waits for it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rich.console import Console, RenderableType
from rich.live import Live

from appliance.errors import ApplianceError
from appliance.ops.control.client import ask
from appliance.ops.status import table
from appliance.ops.status.document import Document

INTERVAL = 1.0
"""Seconds between two looks at everything."""
SHORTLY = 0.3
"""Seconds between two looks at one order."""


class Steps:
    """What sites' attempts have done since the last look."""

    def __init__(self) -> None:
        self._seen: dict[str, set[tuple[str, str]]] = {}

    def new(self, site: Document) -> list[Document]:
        """The steps that were not there before."""
        seen = self._seen.get(site["site"], set())
        self._seen[site["site"]] = {(step["at"], step["step"]) for step in site["progress"]}
        return [step for step in site["progress"] if (step["at"], step["step"]) not in seen]


def act_and_tell(state_dir: Path, site: str, act: Callable[[], Document]) -> Document:
    """
    What ``act`` returns, while the steps of that site's order are printed on standard error as they happen.

    Raises what ``act`` raises. An interruption leaves ``act`` behind.
    """
    steps = Steps()
    _look(state_dir, site, steps)  # those of an earlier attempt
    outcome: list[Document | BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            outcome.append(act())
        except BaseException as error:  # raised again below, where somebody can catch it
            outcome.append(error)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    while True:
        finished = done.wait(SHORTLY)
        for line in _look(state_dir, site, steps):
            print(line, file=sys.stderr, flush=True)
        if finished:
            break
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _look(state_dir: Path, name: str, steps: Steps) -> list[str]:
    try:
        found = table.find(ask(state_dir, "status"), name)
    except ApplianceError:
        return []
    return _lines(found, steps) if found is not None else []


def _lines(site: Document, steps: Steps) -> list[str]:
    return [f"{site['site']}: {step['step']}" for step in steps.new(site)]


def watch(look: Callable[[], Document], view: Callable[[Document], RenderableType], out: Console) -> NoReturn:
    """Show what ``look`` sees again and again, until interrupted: on a terminal in place, else only new steps.

    Raises what ``look`` raises.
    """
    if not out.is_terminal:
        _print_steps(look, out)
    with Live(view(look()), console=out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            time.sleep(INTERVAL)
            live.update(view(look()), refresh=True)


def _print_steps(look: Callable[[], Document], out: Console) -> NoReturn:
    steps = Steps()
    while True:
        for site in look()["sites"]:
            for line in _lines(site, steps):
                print(line, file=out.file, flush=True)
        time.sleep(INTERVAL)
