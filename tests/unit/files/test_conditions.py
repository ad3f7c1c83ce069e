"""Conditional requests."""

from __future__ import annotations

import pytest

from appliance.files.conditions import (
    FAILED,
    NOT_MODIFIED,
    PROCEED,
    conditions_of,
    entity_tag,
    http_date,
    range_applies,
    verdict,
)

TAG = b'"5-64"'
MODIFIED = 1_700_000_000
BEFORE, THEN, AFTER = (http_date(MODIFIED + difference) for difference in (-1, 0, 1))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], PROCEED),
        ([(b"If-None-Match", TAG)], NOT_MODIFIED),
        ([(b"If-None-Match", b"W/" + TAG)], NOT_MODIFIED),
        ([(b"If-None-Match", b"*")], NOT_MODIFIED),
        ([(b"If-None-Match", b'"a" , W/"b",' + TAG)], NOT_MODIFIED),
        ([(b"if-none-match", b'"a"'), (b"If-None-Match", TAG)], NOT_MODIFIED),
        ([(b"If-None-Match", b'"a,b", ' + TAG)], NOT_MODIFIED),
        ([(b"If-None-Match", b'"other"')], PROCEED),
        ([(b"If-None-Match", b"5-64")], PROCEED),
        ([(b"If-None-Match", b'"a" "b" ' + TAG)], PROCEED),
        ([(b"If-None-Match", b'"other"'), (b"If-Modified-Since", AFTER)], PROCEED),
        ([(b"If-Modified-Since", THEN)], NOT_MODIFIED),
        ([(b"If-Modified-Since", AFTER)], NOT_MODIFIED),
        ([(b"If-Modified-Since", BEFORE)], PROCEED),
        ([(b"If-Modified-Since", b"Tue Nov 14 22:13:20 2023")], NOT_MODIFIED),
        ([(b"If-Modified-Since", b"Tuesday, 14-Nov-23 22:13:20 GMT")], NOT_MODIFIED),
        ([(b"If-Modified-Since", b"yesterday")], PROCEED),
        ([(b"If-Modified-Since", b"x" * 1000)], PROCEED),
        ([(b"If-Modified-Since", b"\xff")], PROCEED),
        ([(b"If-Modified-Since", b"Tue, 14 Nov 99999999 22:13:20 GMT")], PROCEED),
        ([(b"If-Modified-Since", b"Tue, 99 Nov 2023 99:99:99 GMT")], None),
        ([(b"If-Match", TAG)], PROCEED),
        ([(b"If-Match", b"*")], PROCEED),
        ([(b"If-Match", b"W/" + TAG)], FAILED),
        ([(b"If-Match", b'"other"')], FAILED),
        ([(b"If-Match", TAG), (b"If-Unmodified-Since", BEFORE)], PROCEED),
        ([(b"If-Unmodified-Since", THEN)], PROCEED),
        ([(b"If-Unmodified-Since", BEFORE)], FAILED),
        ([(b"If-Unmodified-Since", b"soon")], PROCEED),
        ([(b"If-Match", b'"other"'), (b"If-None-Match", TAG)], FAILED),
    ],
)
def test_verdict(fields: list[tuple[bytes, bytes]], expected: int | None) -> None:
    """RFC 9110 section 13.2.2, rule by rule; None where any answer will do as long as there is one."""
    found = verdict(conditions_of([*fields, (b"Accept", b"*/*")]), TAG, MODIFIED)
    assert expected is None or found == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        (TAG, True),
        (THEN, True),
        (b"W/" + TAG, False),
        (b'"other"', False),
        (BEFORE, False),
        (AFTER, False),
        (b"*", False),
    ],
)
def test_if_range(value: bytes | None, expected: bool) -> None:
    """A range is of one version: the strong validator must be the same."""
    assert range_applies({} if value is None else {b"if-range": value}, TAG, MODIFIED) is expected


def test_tags() -> None:
    """Another tag for another time, size or coding."""
    tags = {entity_tag(5, 100), entity_tag(6, 100), entity_tag(5, 101), entity_tag(5, 100, b"br")}
    assert len(tags) == 4
    assert entity_tag(5, 100) == TAG
    assert http_date(0) == b"Thu, 01 Jan 1970 00:00:00 GMT"
