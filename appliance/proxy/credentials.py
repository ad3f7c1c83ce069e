"""Credentials that were found to be right or wrong, so that each are worked out once: a hash costs what a page costs.

What is remembered is a keyed digest, whose key is made anew by each process: never a password, and nothing that could
be compared with one byte by byte.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections import OrderedDict
from hashlib import blake2b
from secrets import token_bytes

from appliance.config.site import BasicAuth
from appliance.passwords import matches

MOST_KNOWN = 1024
"""So many right ones, and so many wrong ones, of one set of users."""


class Credentials:
    """The users of one `BasicAuth`."""

    def __init__(self, auth: BasicAuth, most: int = MOST_KNOWN) -> None:
        self.auth = auth
        self._hashes = {name.encode("utf-8"): hashed for name, hashed in auth.users}
        self._any = next(iter(self._hashes.values()))
        self._key = token_bytes(32)
        self._known: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}
        self._most = most

    def digest(self, authorization: bytes) -> bytes:
        """What stands for the value of an ``Authorization`` field here."""
        return blake2b(authorization, key=self._key, digest_size=32).digest()

    def known(self, digest: bytes) -> bool | None:
        """Whether these are right, as far as that was found out before."""
        for right, digests in self._known.items():
            if digest in digests:
                digests.move_to_end(digest)
                return right
        return None

    def learn(self, digest: bytes, right: bool) -> None:
        """Remember; what was not asked for the longest is forgotten."""
        digests = self._known[right]
        digests[digest] = None
        if len(digests) > self._most:
            digests.popitem(last=False)

    def judge(self, authorization: bytes) -> bool:
        """Whether these are right: some 30 ms of work for a thread, for a name that nobody has as well."""
        name, _, password = _decoded(authorization).partition(b":")
        hashed = self._hashes.get(name)
        return matches(password, hashed or self._any) and hashed is not None


def is_basic(authorization: bytes) -> bool:
    """Whether the value of an ``Authorization`` field is for this scheme (RFC 7617 section 2)."""
    return authorization[:6].lower() == b"basic "


def _decoded(authorization: bytes) -> bytes:
    try:
        return b64decode(authorization[6:].strip(b" "), validate=True)
    except binascii.Error:
        return b""
