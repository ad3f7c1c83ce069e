"""Buckets of tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from appliance.config.site import RateLimit
from appliance.proxy.ratelimit import Limiter


def test_burst_and_pace() -> None:
    """A full bucket at once, then one at a time; who is refused is told how long it takes."""
    clock = Clock()
    limiter = Limiter(RateLimit(10, 1.0, 3), clock.seconds)
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]
    assert round(limiter.take("a"), 6) == 0.1
    assert round(limiter.take("a"), 6) == 0.1
    clock.advance(0.1)
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    assert limiter.take("b") == 0
    clock.advance(1000)
    assert [limiter.take("a") == 0 for _ in range(4)] == [True, True, True, False]


def test_burst_by_default() -> None:
    """As many at once as in all of the time."""
    clock = Clock()
    limiter = Limiter(RateLimit(5, 60.0), clock.seconds)
    assert [limiter.take("a") == 0 for _ in range(6)] == [True] * 5 + [False]
    assert round(limiter.take("a")) == 12


def test_bounded() -> None:
    """Those who were quiet for the longest are forgotten."""
    clock = Clock()
    limiter = Limiter(RateLimit(1, 60.0), clock.seconds, most=2)
    for client in ("a", "b"):
        assert limiter.take(client) == 0
    assert limiter.take("a") > 0
    assert limiter.take("c") == 0
    assert len(limiter) == 2
    assert limiter.take("b") > 0
    assert limiter.take("a") == 0


@given(
    st.integers(1, 50),
    st.floats(0.1, 100),
    st.integers(1, 50),
    st.lists(st.floats(0, 10), max_size=60),
)
def test_never_more(requests: int, per: float, burst: int, pauses: list[float]) -> None:
    """In any stretch of time there are at most a full bucket and what came in meanwhile."""
    clock = Clock()
    limiter = Limiter(RateLimit(requests, per, burst), clock.seconds)
    let_in = []
    for pause in pauses:
        clock.advance(pause)
        if limiter.take("a") == 0:
            let_in.append(clock.seconds())
    for first, start in enumerate(let_in):
        for last in range(first, len(let_in)):
            assert last - first + 1 <= burst + (let_in[last] - start) * requests / per + 1e-6


@given(st.integers(1, 50), st.floats(0.1, 100), st.integers(1, 50))
def test_waiting_helps(requests: int, per: float, burst: int) -> None:
    """Who waits as long as was said gets in."""
    clock = Clock()
    limiter = Limiter(RateLimit(requests, per, burst), clock.seconds)
    while (wait := limiter.take("a")) == 0:
        pass
    clock.advance(wait + 1e-6)
    assert limiter.take("a") == 0
