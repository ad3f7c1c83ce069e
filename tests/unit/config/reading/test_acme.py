"""``[acme]`` and what may be wrong with it."""

from pathlib import Path

import pytest

from appliance.config.file import load
from tests.support.configurations import SMALLEST, mistakes, written


def test_agreement_is_needed(tmp_path: Path) -> None:
    """Refused unless it is true, with the reason."""
    (mistake,) = mistakes(written(tmp_path, SMALLEST.replace("true", "false")))
    assert (mistake.path, mistake.line) == ("acme.agree_tos", 2)
    assert "terms of service" in mistake.message


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ('kid = "k"', "needs hmac_key or hmac_key_file"),
        ('kid = "k", hmac_key = "AAAA", hmac_key_file = "key"', "only one of them"),
        ('hmac_key = "AAAA"', "is missing"),
    ],
)
def test_external_accounts_are_whole(tmp_path: Path, account: str, words: str) -> None:
    """A kid, and the key from exactly one place."""
    (tmp_path / "key").write_text("AAAA")
    text = SMALLEST.replace("agree_tos", f"external_account = {{{account}}}\nagree_tos")
    assert words in mistakes(written(tmp_path, text))[0].message


def test_keys_are_not_shown(tmp_path: Path) -> None:
    """Neither in a message nor in the configuration's own text."""
    text = SMALLEST.replace("agree_tos", 'external_account = {kid = "k", hmac_key = "c2VjcmV0"}\nagree_tos')
    assert "c2VjcmV0" not in repr(load(written(tmp_path, text)))
