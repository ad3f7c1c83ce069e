"""What of a request target must not be written down: the values of parameters whose names tell that they are secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote_to_bytes

SECRET_WORDS = (
    *("token", "accesstoken", "jwt", "key", "apikey", "secret", "signature", "sig", "hmac"),
    *("password", "passwd", "passphrase", "pass", "pwd", "pin", "otp", "code", "ticket"),
    *("auth", "authorization", "credential", "credentials", "session", "sessionid", "sid", "assertion"),
)
"""Words that make a parameter's value secret, wherever they stand in its name."""

HIDDEN = b"REDACTED"

_PARAMETER = re.compile(rb"(?<=[?&;])([^=&;#]*)=([^&;#]*)")
_BORDER = re.compile(rb"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_KNOWN_NAMES = 4096


class Redactor:
    """Hides the values of parameters by the words in their names, as ``access_token``, ``X-Amz-Signature``, ``apiKey``.

    ``more`` are further such words, in any case. A name is taken apart at whatever is neither letter nor digit, and at
    capital letters. Which values look secret is not guessed at, and secrets in paths are not found.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._words = frozenset(word.lower().encode("ascii") for word in (*SECRET_WORDS, *more))
        self._is_secret = lru_cache(_KNOWN_NAMES)(self._has_word)

    def __call__(self, target: bytes) -> bytes:
        """``target``, a request target or a URL, as it may be written down."""
        return _PARAMETER.sub(self._hide, target) if b"?" in target else target

    def _hide(self, parameter: re.Match[bytes]) -> bytes:
        name, value = parameter.groups()
        return b"%b=%b" % (name, HIDDEN if value and self._is_secret(name) else value)

    def _has_word(self, name: bytes) -> bool:
        plain = unquote_to_bytes(name)  # "%74oken" is "token" to the application
        return plain.lower() in self._words or any(part.lower() in self._words for part in _BORDER.split(plain))
