"""On which line of a TOML document each key stands, which ``tomllib`` does not tell.

Only for text that ``tomllib`` has accepted: the scanner recognizes structure, it does not judge it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

Path = tuple[str | int, ...]
"""A key's path from the root: table keys as str, positions in arrays as int."""

_TOKEN = re.compile(
    r"""
      (?P<blank>   [ \t]+ | \#[^\n]* )
    | (?P<newline> \n )
    | (?P<string>  \"{3} (?: \\. | [^\\] )*? \"{3,5}
                 | '{3} .*? '{3,5}
                 | " (?: \\. | [^"\\] )* "
                 | ' [^']* ' )
    | (?P<mark>    [][{}=,.] )
    | (?P<bare>    [^][{}=,.\s\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)


def locate(text: str) -> dict[Path, int]:
    """Map the path of every table, key and array element in ``text`` to the line, from 1, where it first appears."""
    return _Scanner(text).document()


class _Scanner:
    """Reads tokens front to back, one token of lookahead, and notes a line for every path it passes."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {(): 1}
        self._sizes: dict[Path, int] = {}  # of the arrays of tables, so far
        self._tokens = _tokens(text.replace("\r\n", "\n"))
        self._advance()

    def _advance(self) -> None:
        """Move to the next token; at the end of the text its text is empty."""
        self._line, self._kind, self._token = next(self._tokens, (0, "", ""))

    def _take(self, token: str) -> bool:
        """Whether the current token is this mark; it is consumed then."""
        if self._kind != "mark" or self._token != token:
            return False
        self._advance()
        return True

    def _skip_newlines(self) -> None:
        while self._kind == "newline":
            self._advance()

    def document(self) -> dict[Path, int]:
        """Read statements to the end: table headers, and keys with values."""
        table: Path = ()
        while self._kind:
            line = self._line
            if self._kind == "newline":
                self._advance()
            elif self._take("["):
                table = self._header(line)
            else:
                self._pair(table)
        return self.lines

    def _header(self, line: int) -> Path:
        """Read ``[a.b]`` or ``[[a.b]]`` after its first bracket, and return the path of the table it opens."""
        is_element = self._take("[")
        *parents, last = self._key()
        path: Path = ()
        for part in parents:
            path = self._newest((*path, part), line)
        path = (*path, last)
        if is_element:
            self.lines.setdefault(path, line)
            self._sizes[path] = self._sizes.get(path, 0) + 1
            self._take("]")
        path = self._newest(path, line)
        self._take("]")
        return path

    def _newest(self, path: Path, line: int) -> Path:
        """Note ``path``; where it is an array of tables, go on to its newest element, which headers below refer to."""
        self.lines.setdefault(path, line)
        if path in self._sizes:
            path = (*path, self._sizes[path] - 1)
            self.lines.setdefault(path, line)
        return path

    def _key(self) -> list[str]:
        """Read a bare, quoted or dotted key into its parts."""
        parts = []
        while True:
            # A quoted key is written as a string value is, so the parser itself can take its quotes and escapes off.
            parts.append(tomllib.loads(f"key = {self._token}")["key"] if self._kind == "string" else self._token)
            self._advance()
            if not self._take("."):
                return parts

    def _pair(self, table: Path) -> None:
        """Read ``key = value``."""
        line, path = self._line, table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._take("=")
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._take("["):
            self._array(path)
        elif self._take("{"):
            self._inline_table(path)
        else:
            self._scalar()

    def _array(self, path: Path) -> None:
        position = 0
        self._skip_newlines()
        while self._kind and not self._take("]"):
            self.lines[(*path, position)] = self._line
            self._value((*path, position))
            self._skip_newlines()
            self._take(",")
            self._skip_newlines()
            position += 1

    def _inline_table(self, path: Path) -> None:
        self._skip_newlines()
        while self._kind and not self._take("}"):
            self._pair(path)
            self._skip_newlines()
            self._take(",")
            self._skip_newlines()

    def _scalar(self) -> None:
        """Pass over a string, a number with its point, or a date and time with its blank."""
        self._advance()
        while self._kind in {"string", "bare"} or (self._kind == "mark" and self._token == "."):
            self._advance()


def _tokens(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, kind and text of each token but blanks and comments."""
    line = 1
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        if kind != "blank":
            yield line, kind, found.group()
        line += found.group().count("\n")
