"""What of a request target is hidden."""

from __future__ import annotations

import pytest

from appliance.ops.accesslog.redact import Redactor


@pytest.mark.parametrize(
    ("target", "written"),
    [
        (b"/a?token=abc", b"/a?token=REDACTED"),
        (b"/a?x=1&access_token=abc&y=2", b"/a?x=1&access_token=REDACTED&y=2"),
        (b"/a?accessToken=abc", b"/a?accessToken=REDACTED"),
        (b"/a?ACCESS-TOKEN=abc", b"/a?ACCESS-TOKEN=REDACTED"),
        (b"/a?X-Amz-Signature=abc;b=c", b"/a?X-Amz-Signature=REDACTED;b=c"),
        (b"/a?user[password]=abc", b"/a?user[password]=REDACTED"),
        (b"/a?%74oken=abc", b"/a?%74oken=REDACTED"),
        (b"/a?code=abc#code=d", b"/a?code=REDACTED#code=d"),
        (b"/a?code=a=b?c", b"/a?code=REDACTED"),
        (b"/a?token=&token", b"/a?token=&token"),
        (b"/a?monkey=1&keyword=2&zipcode=3", b"/a?monkey=1&keyword=2&zipcode=3"),
        (b"/token=abc", b"/token=abc"),
        (b"https://example.com/?sig=abc", b"https://example.com/?sig=REDACTED"),
    ],
)
def test_hidden(target: bytes, written: bytes) -> None:
    """Values go by the words in their parameters' names."""
    assert Redactor()(target) == written


def test_more_words() -> None:
    """An operator's words are looked for beside those that always hide."""
    redact = Redactor(["IBAN"])
    assert redact(b"/?iban=DE1&user_iban=DE2&pin=3") == b"/?iban=REDACTED&user_iban=REDACTED&pin=REDACTED"
