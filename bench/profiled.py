"""Runs ``twist`` under cProfile between two signals, as a program: the start-up stays out of the profile.

    python profiled.py STATS ARGUMENT-OF-TWIST...

SIGRTMIN begins; SIGRTMIN+1 ends, and writes the statistics into the file STATS, which appears when it is whole.
"""

from __future__ import annotations

import cProfile
import os
import signal
import sys

from twisted.application.twist._twist import Twist  # what ``python -m twisted`` runs


def main(path: str, *arguments: str) -> None:
    """Run twist until it ends."""
    profile = cProfile.Profile()

    def write() -> None:
        profile.disable()
        profile.dump_stats(path + ".part")
        os.replace(path + ".part", path)

    signal.signal(signal.SIGRTMIN, lambda *_: profile.enable())
    signal.signal(signal.SIGRTMIN + 1, lambda *_: write())
    sys.argv = ["twist", *arguments]
    Twist.main(sys.argv)


if __name__ == "__main__":
    main(*sys.argv[1:])
