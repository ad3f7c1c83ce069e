"""Lines of keys in TOML documents."""

import tomllib
from collections.abc import Iterator

import pytest

from appliance.config.reading.schema import KeyPath
from appliance.config.reading.tomllines import locate


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every table, key and element there is in a parsed document."""
    yield path
    if isinstance(value, dict):
        for key, below in value.items():
            yield from paths(below, (*path, key))
    elif isinstance(value, list):
        for position, below in enumerate(value):
            yield from paths(below, (*path, position))


def located(text: str) -> dict[KeyPath, int]:
    """The lines of ``text``, after a check that exactly its paths have one."""
    lines = locate(text)
    assert set(lines) == set(paths(tomllib.loads(text)))
    return lines


def test_keys_and_tables() -> None:
    """Keys have their own line, tables that of their header, the root the first."""
    assert located("a = 1\n\n[b]\nc = 2\n") == {(): 1, ("a",): 1, ("b",): 3, ("b", "c"): 4}


def test_arrays_of_tables() -> None:
    """Each element has the line of its own header; headers below refer to the newest element."""
    lines = located('[[s]]\nn = 1\n[[s.r]]\np = 1\n[[s.r]]\n[s.r.t]\nz = 1\n[[s]]\n[[s.r]]\np = "x"\n')
    assert lines["s", 0] == lines["s",] == 1
    assert lines["s", 0, "r", 1] == 5
    assert lines["s", 0, "r", 1, "t", "z"] == 7
    assert lines["s", 1] == 8
    assert lines["s", 1, "r", 0, "p"] == 10


def test_elements_of_an_array_over_several_lines() -> None:
    """Each element has its own line, comments and a last comma notwithstanding."""
    lines = located('a = [ # [\n "x", # ]\n\n  [1,\n 2],\n]\nb = 1\n')
    assert [lines["a", 0], lines["a", 1], lines["a", 1, 1], lines["b",]] == [2, 4, 5, 7]


def test_inline_tables() -> None:
    """Keys of inline tables are found, in arrays and below each other."""
    lines = located('a = [{b = "}"},\n {b.c = {d = []}, e = {}}]\n')
    assert lines["a", 0, "b"] == 1
    assert lines["a", 1, "b", "c", "d"] == 2
    assert lines["a", 1, "e"] == 2


@pytest.mark.parametrize(
    "key",
    ["a.b", "a . b", '"a"."b"', "'a'.b", '"\\u0061".b', "'a' . \"b\""],
    ids=["bare", "blanks", "1", "2", "3", "4"],
)
def test_dotted_and_quoted_keys(key: str) -> None:
    """All spellings of a key are the same path."""
    assert located(f"\n{key} = 1")["a", "b"] == 2
    assert located(f"\n[{key}]\n")["a", "b"] == 2
    assert located(f"\n[[ {key} ]]\n")["a", "b", 0] == 2


def test_dots_in_quoted_keys() -> None:
    """A quoted key is one key, whatever is in it."""
    assert located('"a.b" = 1\n["c]"."# d"]\n') == {(): 1, ("a.b",): 1, ("c]",): 2, ("c]", "# d"): 2}


@pytest.mark.parametrize(
    "value",
    [
        '"# [x]\\" = {"',
        "'C:\\'",
        '""',
        "''",
        '""""""',
        '"""\n[x]\n"quoted" \\""" y = 1"""',
        '""""two quotes at each end"""""',
        "'''\n[x]\\'''",
        "''''one at each end''''",
        '"""\\\n  """',
        "1.5",
        "-1e5",
        "+inf",
        "1979-05-27 07:32:00.5",
        "1979-05-27T07:32:00-07:00",
        "0xff_ff",
        "true",
    ],
)
def test_values_are_passed_over(value: str) -> None:
    """What stands in a value is not taken for structure, and the next key has its own line."""
    text = f"a = {value} # ]]\nb = [{value}, {value}]\nc = {{k = {value}}}\nlast = 1\n"
    lines = located(text)
    assert lines["last",] == text.count("\n")
    assert lines["b", 1] == 2 + value.count("\n") * 2


def test_line_ends_of_windows() -> None:
    """CR LF counts as one line end, in strings too."""
    assert located('a = """\r\nx"""\r\nb = 1\r\n')["b",] == 3


@pytest.mark.parametrize("text", ["a = [", "a = {", "[[a", "a", "a = ", "]", "[x}=", "a = [}", "a = {]"])
def test_text_that_is_no_toml_ends(text: str) -> None:
    """Not that it should be asked: but it ends."""
    locate(text)
