"""What failures make of an address."""

from __future__ import annotations

from appliance.proxy.health import IN, OUT, TRIAL, Health


def test_out_after_so_many_failures_within_the_window() -> None:
    """Not before, and not by failures long past."""
    health = Health(allowed=3, window=10.0)
    assert [health.failed(now, last=False) for now in (0.0, 5.0, 11.0, 14.0)] == [False, False, False, True]
    assert health.state == OUT
    assert not health.failed(15.0, last=False)


def test_the_last_one_stays() -> None:
    """Whatever it does; when another can take over again, its failures count."""
    health = Health(allowed=2, window=10.0)
    assert not any(health.failed(float(now), last=True) for now in range(10))
    assert health.state == IN
    assert health.failed(10.0, last=False)


def test_half_open() -> None:
    """After the cool-down one failure puts it out again, one answer takes it in."""
    health = Health(allowed=2, window=10.0)
    health.cooled()
    assert health.state == IN
    health.failed(0.0, last=False)
    health.failed(1.0, last=False)
    health.cooled()
    assert health.state == TRIAL
    assert health.failed(20.0, last=False)
    assert health.state == OUT
    assert not health.answered()
    health.cooled()
    assert health.answered()
    assert health.state == IN
    assert not health.answered()
    assert not health.failed(21.0, last=False)


def test_turned_off() -> None:
    """No failures allowed means that none counts."""
    health = Health(allowed=0, window=10.0)
    assert not any(health.failed(float(now), last=False) for now in range(10))
    assert health.state == IN
