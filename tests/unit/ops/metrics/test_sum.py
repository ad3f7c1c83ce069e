"""Figures of one process added to those of another: by way of JSON, as they go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.ops.metrics.counts import NO_SITE, THE_OTHERS, Counts
from appliance.ops.metrics.sum import Document, FiguresError, add, take, whole_numbers
from tests.support.observed import Ended, observed


def ended(site: str, method: bytes = b"GET", status: int = 200, upstream: str = "", fault: str = "") -> Ended:
    """A request that took a second, half of it its application's."""
    return Ended(site, method, status, 1.0, upstream, fault, 0.5)


def counted(most: int = 10) -> Counts:
    """Some of everything."""
    counts = Counts(most)
    counts.requests(
        observed([ended("one.test", upstream="app"), ended("one.test", b"BREW", 418, fault="client"), ended("")])
    )
    counts.handshake_completed("TLSv1.3")
    counts.handshake_failed("no such name")
    return counts


def plain(counts: Counts) -> Document:
    """What is counted, as values; it stays."""
    other = Counts(1000)
    document = take(counts)
    add(counts, document)
    add(other, document)
    return take(other)


def sent(counts: Counts) -> Document:
    """What another process gets."""
    document: Document = json.loads(json.dumps(take(counts)))
    return document


def test_nothing_is_lost_nothing_twice() -> None:
    """Taken and added again, all is as it was; what was taken is not there any more."""
    first, second, total = counted(), counted(), counted()
    before = plain(total)
    add(total, sent(first))
    assert take(first) == take(Counts(10))
    add(total, sent(second))
    add(total, sent(second))
    after = plain(total)
    for key in ("handshakes", "failed_handshakes"):
        assert after[key] == {name: 3 * count for name, count in before[key].items()}
    one = after["sites"]["one.test"]
    assert one["requests"] == [["GET", 200, 3], ["other", 418, 3]]
    assert one["faults"] == {"client": 3}
    assert one["bytes"] == [18, 30]
    assert one["times"][1] == 6.0
    assert sum(one["times"][0]) == 6
    assert sum(after["sites"][NO_SITE]["times"][0]) == 3
    assert after["upstreams"]["app"][1] == 1.5


def test_bounds_hold_for_sums() -> None:
    """Sites beyond the number that have figures of their own share them, whoever counted them."""
    total, other = Counts(1), Counts(1)
    total.requests(observed([ended("one.test")]))
    other.requests(observed([ended("two.test"), ended("three.test"), ended("")]))
    add(total, sent(other))
    assert set(total.sites) == {"one.test", THE_OTHERS, NO_SITE}
    assert plain(total)["sites"][THE_OTHERS]["requests"] == [["GET", 200, 2]]
    other.requests(observed([ended("four.test"), ended("five.test")]))
    add(total, sent(other))
    assert plain(total)["sites"][THE_OTHERS]["requests"] == [["GET", 200, 4]]


def broken(*path: Any, value: object) -> Document:
    """Figures with one value that is not what it should be."""
    document = sent(counted())
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"sites": []},
        broken("handshakes", "TLSv1.3", value=-1),
        broken("failed_handshakes", value=7),
        broken("sites", "one.test", value=None),
        broken("sites", "one.test", "requests", value=[["GET", 200]]),
        broken("sites", "one.test", "requests", value=[["GET", True, 1]]),
        broken("sites", "one.test", "times", value=[[1], 1.0]),
        broken("sites", "one.test", "bytes", value=[1, 2, 3]),
        broken("upstreams", "app", value=[["x"] * 12, 1.0]),
    ],
)
def test_nonsense(document: Document) -> None:
    """Refused as a whole: nothing of it is added."""
    total = Counts(10)
    with pytest.raises(FiguresError):
        add(total, document)
    assert plain(total) == plain(Counts(10))


def test_whole_numbers() -> None:
    """Those that are missing are 0; others than counts are refused."""
    assert list(whole_numbers({"a": 1, "b": 0}, "a", "b", "c")) == [1, 0, 0]
    for value in (-1, 1.5, True, "1", None):
        with pytest.raises(FiguresError, match="a: "):
            list(whole_numbers({"a": value}, "a"))
