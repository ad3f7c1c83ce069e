"""The promise, as a literal table: the appliance's cost over a peer's, at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.report import Result, ratio

AT_MOST: dict[tuple[str, str], float] = {
    ("small", "caddy"): 0.55,
    ("small", "nginx"): 1.9,
    ("10k", "caddy"): 0.60,
    ("10k", "nginx"): 2.0,
    ("1m", "caddy"): 1.0,
    ("1m", "nginx"): 1.3,
    ("upload", "caddy"): 1.0,
    ("upload", "nginx"): 1.3,
    ("connect", "caddy"): 1.2,
    ("connect", "nginx"): 1.5,
    ("idle", "caddy"): 1.2,
    ("idle", "nginx"): 2.0,
    ("websocket", "caddy"): 0.8,
    ("h2", "caddy"): 0.9,
    ("h2-1m", "caddy"): 1.2,
}
"""(work, peer) to the highest ratio allowed."""


def failures(results: Sequence[Result], at_most: Mapping[tuple[str, str], float] = AT_MOST) -> list[str]:
    """Return a sentence for each ratio that is too high, or that this run did not measure."""
    found = []
    for (work, peer), most in at_most.items():
        got = ratio(results, work, "appliance", peer)
        if got is None:
            found.append(f"{work}: not measured against {peer}")
        elif got > most:
            found.append(f"{work}: {got:.2f} × {peer}, at most {most:.2f} allowed")
    return found
