"""Reading plain values into classes, noting every mistake."""

from pathlib import Path

import pytest
from attrs import frozen

from appliance.config.reading.schema import (
    Document,
    Many,
    Place,
    Reader,
    Refused,
    Table,
    dotted,
    key_paths,
    shown,
    unique,
)
from appliance.errors import Mistake


@frozen
class Point:
    """Something to be read."""

    x: int
    y: int = 0


def number(value: object, place: Place) -> int:
    """A reader for the tests."""
    if not isinstance(value, int):
        raise Refused(f"must be a number, not {shown(value)}")
    return value


POINT = Table({"x": number, "y": number}, Point, required={"x": "how far"})


def read(reader: Reader[object], value: object, **given: object) -> object:
    """What the reader makes of the value, or the mistakes."""
    document = Document(reader, Path("/etc"), **given)  # type: ignore[arg-type]
    for result in Place(document).read(reader, value):
        assert not document.mistakes
        return result
    return [str(mistake) for mistake in document.mistakes]


def test_a_table_becomes_an_object() -> None:
    """Keys become attributes; those left out take the class's default."""
    assert read(POINT, {"x": 1, "y": 2}) == Point(1, 2)
    assert read(POINT, {"x": 1}) == Point(1)


def test_all_mistakes_of_a_table_are_noted() -> None:
    """One mistake does not hide the next."""
    assert read(POINT, {"y": "s", "speed": 1}) == [
        'y: must be a number, not "s"',
        "speed: is not known here: the keys are x, y",
        "x: is missing: how far",
    ]


def test_a_misspelt_key_is_not_missing_as_well() -> None:
    """The suggestion stands for it."""
    table = Table({"upstream": number}, Point, required={"upstream": "needed"})
    assert read(table, {"upsteam": 1}) == ["upsteam: is not known here: did you mean upstream?"]


def test_a_key_that_another_one_needs() -> None:
    """It may be left out without that."""
    table = Table({"x": number, "y": number}, dict, required={"y": "goes with x"}, only_with={"y": "x"})
    assert read(table, {}) == {}
    assert read(table, {"x": 1}) == ["y: is missing: goes with x"]


def test_a_key_below_the_wrong_header_is_sent_home() -> None:
    """The most common slip in TOML: a key after a header belongs to that header's table."""
    inner = Table({"x": number, "deeper": Table({"z": number}, dict)}, dict)
    outer = Table({"top": number, "inner": inner}, dict)
    assert read(outer, {"inner": {"top": 1, "z": 2}}) == [
        "inner.top: is not known here: it belongs above the first [table]",
        "inner.z: is not known here: it belongs in [inner.deeper]",
    ]


def test_wrong_brackets_are_explained() -> None:
    """A table where a list of tables is wanted, and the other way round, differ by a pair of brackets."""
    schema = Table({"one": POINT, "many": Many(POINT)}, dict)
    assert read(schema, {"one": [{"x": 1}], "many": {"x": 1}}) == [
        "one: must be a table, not a list: write [one] in single brackets",
        "many: must be a list, not a table: write [[many]] in double brackets",
    ]
    assert read(schema, {"one": 1, "many": 2}) == ["one: must be a table, not 1", "many: must be a list, not 2"]


def test_lists() -> None:
    """Every element is read, none may be wrong, and there must be one."""
    assert read(Many(number), [1, 2]) == (1, 2)
    assert read(Many(number), [1, "x", "y"]) == ['[1]: must be a number, not "x"', '[2]: must be a number, not "y"']
    assert read(Many(number), []) == ["must not be empty"]
    assert read(Many(number), 1) == ["must be a list, not 1"]
    assert read(Many(number, or_one=True), 1) == (1,)
    assert read(Many(number, or_one=True), "x") == ['must be a number, not "x"']


def test_unique_within_a_table() -> None:
    """A value may stand once in the table that the path's beginning leads to; the message says where it is."""
    anywhere = Many(Many(unique(number)))
    within = Many(Many(unique(number, depth=1)))
    assert read(anywhere, [[1], [1]]) == ["[1][0]: 1 is there already, at [0][0]"]
    assert read(within, [[1], [1]]) == ((1,), (1,))
    assert read(within, [[1, 1]]) == ["[0][1]: 1 is there already, at [0][0]"]


def test_building_at_a_place() -> None:
    """What needs several values to be judged can refuse the table, or note mistakes at keys of it."""

    def build(place: Place, x: int, y: int) -> Point:
        if x > 9:
            raise Refused("too far")
        if y > x:
            place.at("y").note("is more than x")
        return Point(x, y)

    table = Table({"x": number, "y": number}, build, at_place=True)
    assert read(table, {"x": 2, "y": 1}) == Point(2, 1)
    assert read(table, {"x": 10, "y": 1}) == ["too far"]
    document = Document(table, Path())
    Place(document).read(table, {"x": 1, "y": 2})
    assert document.mistakes == [Mistake("y", "is more than x")]


def test_mistakes_have_the_line_of_the_nearest_key() -> None:
    """A missing key is reported at the line of its table."""
    lines = {(): 1, ("a",): 3}
    schema = Table({"a": POINT, "b": POINT}, dict)
    assert read(schema, {"a": {}, "b": {}}, lines=lambda: lines) == [
        "line 3: a.x: is missing: how far",
        "line 1: b.x: is missing: how far",
    ]


def test_mistakes_of_options_name_the_option() -> None:
    """Where a value came from the command line, its option stands in the key's place."""
    schema = Table({"a": POINT}, dict)
    options = {("a", "x"): "--x"}
    assert read(schema, {"a": {"x": "?"}}, lines=lambda: {(): 1, ("a",): 3}, options=options) == [
        '--x: must be a number, not "?"'
    ]


def test_every_key_of_a_schema() -> None:
    """Lists add nothing to a path."""
    assert list(key_paths(Table({"a": Many(POINT), "b": number}, dict))) == [("a",), ("a", "x"), ("a", "y"), ("b",)]


def test_paths_are_written_with_dots_and_brackets() -> None:
    """As operators read them."""
    assert dotted(("site", 1, "route", 0, "upstream")) == "site[1].route[0].upstream"
    assert str(Place(Document(POINT, Path()), ("a", "b"))) == "a.b"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "a table"),
        ([], "a list"),
        (True, "true"),
        (False, "false"),
        (1.5, "1.5"),
        ("a", '"a"'),
        ("a\x1b[0m\n", '"a\ufffd[0m\ufffd"'),
        ("x" * 100, '"' + "x" * 59 + "…"),
        (10**60 - 1, "9" * 60),
    ],
)
def test_refused_values_are_shown_safely(value: object, text: str) -> None:
    """Short, printable, and by kind when they are large."""
    assert shown(value) == text


def test_numbers_that_have_no_decimal_digits() -> None:
    """Python writes out no number of thousands of digits."""
    assert shown(-(16**5000)) == "a number of more than 60 digits"
