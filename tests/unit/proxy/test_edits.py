"""Header fields set, added and removed."""

from __future__ import annotations

from appliance.config.site import HeaderEdits
from appliance.http.message import Fields, ResponseHead
from appliance.proxy.edits import FieldEdit

FIELDS = [(b"server", b"x"), (b"X-A", b"1"), (b"x-a", b"2"), (b"X-B", b"3")]


def edited(fields: Fields, *edits: HeaderEdits) -> Fields:
    """These fields, as edits leave them."""
    head = ResponseHead(200, b"OK")
    head.fields = list(fields)
    FieldEdit(list(edits)).apply(head)
    by_lines = head.fields
    head.lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    FieldEdit(list(edits)).apply(head)
    assert head.fields == by_lines
    return by_lines


def test_set_add_remove() -> None:
    """Set takes the place of all of that name, add stands beside them."""
    edit = HeaderEdits((("X-a", "4"),), (("X-B", "5"), ("X-B", "6")), ("SERVER",))
    assert edited(FIELDS, edit) == [(b"X-B", b"3"), (b"X-a", b"4"), (b"X-B", b"5"), (b"X-B", b"6")]


def test_only_add() -> None:
    """Where nothing goes, all stays."""
    assert edited(FIELDS, HeaderEdits(add=(("X-C", "7"),))) == [*FIELDS, (b"X-C", b"7")]


def test_whole_names() -> None:
    """A name is not a part of another, nor of a value, and means itself."""
    fields = [(b"XX-A", b"X-A: 1"), (b"X-AA", b"2"), (b"XyA", b"3"), (b"X.A", b"")]
    assert edited(fields, HeaderEdits(remove=("X-A", "X.A"))) == fields[:3]


def test_one_after_the_other() -> None:
    """The later has the last word."""
    first = HeaderEdits((("X-C", "1"), ("X-D", "1")), (("X-E", "1"),), ("X-B",))
    second = HeaderEdits((("x-c", "2"),), (("X-B", "2"),), ("X-E",))
    fields = [(b"X-B", b"0"), (b"x-e", b"0")]
    assert edited(fields, first, second) == [(b"X-D", b"1"), (b"x-c", b"2"), (b"X-B", b"2")]
