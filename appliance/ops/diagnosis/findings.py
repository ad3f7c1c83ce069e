"""What the doctor says: findings, each with what was seen and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

GOOD: Final = "good"
WARNING: Final = "warning"
"""It may be right, or not: only the operator knows."""
BAD: Final = "bad"
UNKNOWN: Final = "unknown"
"""It could not be looked at."""

_STYLES = {GOOD: "green", WARNING: "yellow", BAD: "bold red", UNKNOWN: "dim"}


@frozen
class Finding:
    """One thing that was looked at."""

    name: str
    """The domain name it is about; empty for what concerns all."""
    check: str
    verdict: str
    """One of ``GOOD``, ``WARNING``, ``BAD``, ``UNKNOWN``."""
    seen: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


def worst_is_bad(findings: Iterable[Finding]) -> bool:
    """Whether any of them will keep a certificate from being issued."""
    return any(finding.verdict == BAD for finding in findings)


def show(findings: Iterable[Finding], console: Console) -> None:
    """A line for each, its advice below it."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(4):
        table.add_column(overflow="fold")
    for finding in findings:
        verdict = Text(finding.verdict, style=_STYLES[finding.verdict])
        seen = Text(finding.seen)
        if finding.advice:
            seen.append(f"\n-> {finding.advice}", style="bold" if finding.verdict == BAD else "")
        table.add_row(Text(finding.name, style="bold"), finding.check, verdict, seen)
    console.print(table)
