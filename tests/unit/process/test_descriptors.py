"""How many file descriptors there are. The limits of the test's own process are put back."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from appliance.process import descriptors


@pytest.fixture(autouse=True)
def limits() -> Iterator[tuple[int, int]]:
    """The soft and hard limit, as they were."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_raised_to_what_is_allowed(limits: tuple[int, int]) -> None:
    """The soft limit becomes the hard one, or enough; raising it again changes nothing."""
    hard = limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    for _ in range(2):
        descriptors.raise_limit()
        expected = descriptors.ENOUGH if hard == resource.RLIM_INFINITY else min(hard, descriptors.ENOUGH)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (expected, hard)
        assert descriptors.limit() == expected


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (1024, 524_288, 65_536),
        (1024, resource.RLIM_INFINITY, 65_536),
        (256, 256, None),
        (100_000, 524_288, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_what_is_asked_for(soft: int, hard: int, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never less than there is, and never a thousand million."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits))
    descriptors.raise_limit()
    assert asked == ([] if expected is None else [(expected, hard)])


def test_unlimited_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit, bounds are derived from a number all the same."""
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda which: infinite)
    assert descriptors.limit() == descriptors.ENOUGH
