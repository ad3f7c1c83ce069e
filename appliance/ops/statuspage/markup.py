"""HTML and SVG out of values: elements whose texts and attributes are escaped, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.python.failure import Failure
from twisted.web.template import Tag, flattenString

Content = Any
"""Text, an element, None, or a sequence of these."""


def el(name: str, /, *content: Content, **attributes: str | int | float | bool | None) -> Tag:
    """An element. ``class_`` is ``class`` and ``data_x`` is ``data-x``; None and False leave an attribute out."""
    given = {
        key.rstrip("_").replace("_", "-"): "" if value is True else clean(str(value))
        for key, value in attributes.items()
        if value is not None and value is not False
    }
    return Tag(name, given, [_content(each) for each in content if each is not None])  # type: ignore[arg-type]


def _content(content: Content) -> Any:
    if isinstance(content, str):
        return clean(content)
    if isinstance(content, Sequence):
        return [_content(each) for each in content if each is not None]
    return content


def clean(text: str) -> str:
    """Without what does not print: controls, halves of characters, and marks that turn the text around."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)


def page(root: Tag) -> bytes:
    """The document, in UTF-8."""
    done: list[bytes | Failure] = []
    flattenString(None, root).addBoth(done.append)
    (result,) = done
    if isinstance(result, Failure):
        result.raiseException()
    return b"<!DOCTYPE html>\n" + result
