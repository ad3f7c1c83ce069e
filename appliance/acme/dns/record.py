"""The TXT record that proves a name, and those who publish it."""

from __future__ import annotations

from hashlib import sha256
from typing import Protocol

from attrs import field, frozen

from appliance.acme.jose import b64url


@frozen
class TxtRecord:
    """One record. Several may be under one name at the same time: the apex and its wildcard share it."""

    domain: str
    """What is being proved, without ``*.``."""
    name: str
    """Where the record belongs, no dot at the end: ``_acme-challenge.DOMAIN``, or where a CNAME there leads."""
    value: str
    token: str = ""
    """The CA's; with the next one for those that compute the value themselves."""
    key_authorization: str = field(default="", repr=False)


class Publisher(Protocol):
    """Puts records into the DNS and takes them out. Both may fail with anything; `ResponderError` speaks for itself."""

    async def present(self, record: TxtRecord, /) -> None:
        """Add the record, beside others of its name; it need not be visible everywhere yet."""

    async def withdraw(self, record: TxtRecord, /) -> None:
        """Remove the record and no other; harmless if it is not there."""


def challenge_value(key_authorization: str) -> str:
    """What the CA wants to read (RFC 8555 section 8.4)."""
    return b64url(sha256(key_authorization.encode("ascii")).digest())
