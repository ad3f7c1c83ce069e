"""HTML out of values, whoever wrote them."""

from __future__ import annotations

import pytest

from appliance.ops.statuspage.markup import clean, el, page

HOSTILE = "\"'><script>alert(1)</script><!-- & \x00\x1b[31m \u202e \ud800"


def test_everything_is_escaped() -> None:
    """In texts, in attributes, in lists; what does not print is replaced."""
    made = page(el("p", HOSTILE, [HOSTILE, el("b", "x")], title=HOSTILE)).decode()
    assert made.startswith("<!DOCTYPE html>\n<p title=\"&quot;'&gt;&lt;script")
    assert "<script" not in made
    assert "<!--" not in made
    assert not {"\x00", "\x1b", "\u202e"} & set(made)


def test_attributes() -> None:
    """Names, numbers, and those that are left out."""
    made = el("input", None, class_="a", data_from="b/c", value=0, disabled=True, hidden=False, id=None)
    assert page(made) == b'<!DOCTYPE html>\n<input class="a" data-from="b/c" value="0" disabled="" />'


def test_what_cannot_be_shown() -> None:
    """Raised here, not lost somewhere else."""
    with pytest.raises(Exception, match="object"):
        page(el("p", object()))
    assert clean("Zürich\n日本") == "Zürich\n日本"
