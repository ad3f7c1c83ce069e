"""Configuration files that can be read or cannot, and options that go before what they say."""

from pathlib import Path

import pytest

from appliance.config import (
    Acme,
    Listen,
)
from appliance.config.file import MAX_BYTES, Override, load
from appliance.errors import ConfigurationError, Mistake
from tests.support.configurations import SMALLEST, mistakes, written


def test_the_error_s_text_is_a_line_for_each_mistake(tmp_path: Path) -> None:
    """Each line begins with the file, so that editors can jump to it."""
    file = written(tmp_path, SMALLEST + "\n[timeouts]\nidel = 5\nconnect = 0\n")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    first, second = str(caught.value).splitlines()
    assert first == f"{file}: line 8: timeouts.idel: is not known here: did you mean idle?"
    assert second.startswith(f"{file}: line 9: timeouts.connect: must be a number of seconds")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('a = 1\nb = "x\n', 2, "is not TOML"),
        ("a = 1\na = 2\n", 2, "is not TOML"),
        ("[acme]\n[listen]\n[acme]\n", 3, "is not TOML"),
        ("a = [1,\n\n", 3, "is not TOML"),
    ],
)
def test_what_is_no_toml(tmp_path: Path, text: str, line: int, words: str) -> None:
    """A syntax error is one mistake, with its line."""
    (mistake,) = mistakes(written(tmp_path, text))
    assert mistake.line == line
    assert words in mistake.message
    assert "line" not in mistake.message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Absent, a folder, no text, too large, too deep, too long a number: one mistake each, no traceback."""
    file = tmp_path / "appliance.toml"
    assert "No such file" in mistakes(file)[0].message
    assert "Is a directory" in mistakes(tmp_path)[0].message
    file.write_bytes(b"a = 1\nb = '\xff'\n")
    assert mistakes(file) == (Mistake("", "is not UTF-8, which TOML is written in", 2),)
    file.write_text("#" * (MAX_BYTES + 1))
    assert "is larger than" in mistakes(file)[0].message
    file.write_text("a = " + "[" * 20000 + "]" * 20000)
    assert "is nested too deeply" in mistakes(file)[0].message
    file.write_text(f"workers = {'9' * 5000}")
    assert "has a number of more than 4300 digits" in mistakes(file)[0].message


def test_almost_too_deep(tmp_path: Path) -> None:
    """However deep a value may just be, what is wrong with it is told."""
    file = tmp_path / "appliance.toml"
    for depth in range(100, 600, 5):
        file.write_text("a = " + "[" * depth + "]" * depth)
        (mistake,) = mistakes(file)
        assert mistake.message.startswith(("is nested too deeply", "is not known here")), mistake


def test_overrides_go_before_the_file(tmp_path: Path) -> None:
    """Options replace keys, and add tables that the file does not have."""
    file = written(tmp_path, 'state_dir = "/a"\n' + SMALLEST)
    loaded = load(
        file,
        {
            ("state_dir",): Override("--state-dir", "/b"),
            ("listen", "http"): Override("--http", ["tcp:1"]),
            ("acme", "email"): Override("--email", "a@example.com"),
        },
    )
    assert loaded.state_dir == Path("/b")
    assert loaded.listen == Listen(http=("tcp:1",))
    assert loaded.acme == Acme(email="a@example.com", agree_tos=True)


def test_mistakes_in_overrides_name_the_option(tmp_path: Path) -> None:
    """Without a line of the file, which has nothing to do with them."""
    file = written(tmp_path, SMALLEST)
    (mistake,) = mistakes(file, {("acme", "email"): Override("--email", "x")})
    assert (mistake.path, mistake.line) == ("--email", None)


def test_overrides_of_a_table_that_is_none(tmp_path: Path) -> None:
    """The file's mistake is reported as it would be without the option."""
    file = written(tmp_path, SMALLEST.replace("[acme]\nagree_tos = true", "acme = 1"))
    (mistake,) = mistakes(file, {("acme", "email"): Override("--email", "a@example.com")})
    assert (mistake.path, mistake.line) == ("acme", 1)
