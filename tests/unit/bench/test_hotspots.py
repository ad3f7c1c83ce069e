"""What profilers write, as microseconds per request."""

from __future__ import annotations

import cProfile
import pstats

from bench.hotspots import Row, by_line, from_cprofile, from_shares, from_stacks, table, without_prefix

STACKS = [
    "main (a.py:1);read (b.py:10);parse (c.py:5) 6",
    "main (a.py:1);read (b.py:12) 2",
    "main (a.py:1);read (b.py:10);read (b.py:12) 2",
    " 7",
]


def test_samples_share_out_the_cost_by_function() -> None:
    """Lines of one function are one, and recursion does not count twice."""
    rows = {row.name: (row.own, row.total) for row in from_stacks(STACKS, 50.0)}
    assert rows == {"parse (c.py)": (30.0, 30.0), "read (b.py)": (20.0, 50.0), "main (a.py)": (0.0, 50.0)}


def test_samples_share_out_the_cost_by_line() -> None:
    """Each sample belongs to the innermost line."""
    rows = [(row.name, row.own) for row in by_line(STACKS, 50.0)]
    assert rows == [("parse (c.py:5)", 30.0), ("read (b.py:12)", 20.0)]


def test_no_samples_make_no_rows() -> None:
    """A profiler that saw nothing is not an error here."""
    assert from_stacks([], 50.0) == by_line([], 50.0) == from_shares("", 50.0) == []


def test_perf_shares() -> None:
    """Percentages become microseconds; blank lines and further columns are nothing."""
    report = "\n 60.00% ;libpython3.11.so  ;[.] _PyEval  ;- -\n\n 40.00%;[kernel.kallsyms]  ;[k] tcp_sendmsg\n"
    assert from_shares(report, 50.0) == [
        Row("libpython3.11.so [.] _PyEval", 30.0),
        Row("[kernel.kallsyms] [k] tcp_sendmsg", 20.0),
    ]


def test_cprofile_counts_calls_per_request() -> None:
    """Real statistics: calls are divided by the requests, builtins have no file."""
    profile = cProfile.Profile()
    profile.runcall(lambda: [len("x") for _ in range(6)])
    rows = {row.name: row.calls for row in from_cprofile(pstats.Stats(profile).stats, 2)}  # type: ignore[attr-defined]
    assert rows["<built-in method builtins.len>"] == 3


def test_table_sums_up_what_it_leaves_out() -> None:
    """The columns add up, however short the table is."""
    text = table("title", [Row("a", 3.0, 4.0, 1.0), Row("b", 2.0), Row("c", 1.0)], 1)
    assert [line.split() for line in text.splitlines()[2:]] == [["3.00", "4.00", "1.00", "a"], ["3.00", "(2", "more)"]]


def test_paths_are_shortened() -> None:
    """Prefixes vanish inside of names."""
    assert without_prefix([Row("f (/lib/x.py:1)", 1.0)], ["/lib/"]) == [Row("f (x.py:1)", 1.0)]
