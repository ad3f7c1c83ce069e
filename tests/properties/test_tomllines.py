"""Lines of keys, for documents of every shape."""

import json
import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from appliance.config.reading.schema import KeyPath
from appliance.config.reading.tomllines import locate

KEYS = st.one_of(
    st.from_regex(r"\A[A-Za-z0-9_-]{1,8}\Z"),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8).map(
        lambda text: json.dumps(text, ensure_ascii=False)
    ),
)
SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12).map(
        lambda text: json.dumps(text, ensure_ascii=False)
    ),
    st.text(st.sampled_from("ab[]{}=#,.\n \\"), max_size=12).map(lambda text: f"'''{text}'''"),
    st.datetimes().map(lambda moment: moment.isoformat(" ")),
)
BLANKS = st.sampled_from(["", " ", "\n", " # ],}= x\n\n"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(st.tuples(BLANKS, inner, BLANKS).map("".join), max_size=4).map(
        lambda items: f"[{','.join(items)}\n]"
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.tuples(KEYS, VALUES),
        max_size=6,
        unique_by=lambda pair: json.loads(pair[0]) if pair[0][0] == '"' else pair[0],
    )
)
def test_every_key_is_found_on_its_line(pairs: list[tuple[str, str]]) -> None:
    """Whatever the values before it are, a key is found on the line it was written on."""
    text, expected = "", {}
    for key, value in pairs:
        text += "# [comment]\n"
        expected[json.loads(key) if key[0] == '"' else key] = text.count("\n") + 1
        text += f"{key} = {value}\n"
    lines = locate(text)
    assert {path[0]: line for path, line in lines.items() if len(path) == 1} == expected


@given(
    st.lists(
        st.sampled_from(["a", "b.a", '"]"', "=", "=1", "=[", "={", "[", "]", "[[", "]]", "{", "}", ",", "#", "\n"])
    )
)
def test_finds_what_the_parser_finds(pieces: list[str]) -> None:
    """Of whatever ``tomllib`` accepts, exactly the paths that are in it have a line, and one that is there."""
    text = "".join(pieces)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = locate(text)
    assert set(lines) == set(_paths(document))
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def _paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    yield path
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in below:
        yield from _paths(inner, (*path, step))
