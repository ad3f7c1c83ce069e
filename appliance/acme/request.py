"""What is wanted of a CA, and an order that was begun for it. Pure values."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

from appliance.acme import keys


@frozen
class CertificateRequest:
    """One certificate."""

    names: tuple[str, ...]
    """DNS names, wildcards, IP addresses (RFC 8738)."""
    key_type: str = keys.DEFAULT
    """One of ``keys.TYPES``."""
    profile: str | None = None
    """What the CA calls this kind of certificate; None leaves it to the CA's entry in the configuration."""
    replaces: str | None = None
    """The name of the certificate whose place it takes (RFC 9773 section 5); None without renewal information."""


@frozen
class Unfinished:
    """An order that a CA has, or may have, and that no certificate has come of yet."""

    authority: str
    names: tuple[str, ...]
    key: str = field(repr=False)
    """Private, PEM: what the certificate will be for."""
    began: datetime
    counted: bool = False
    """Whether our budgets were charged for the certificate: not if it replaces one (RFC 9773 section 5)."""
    url: str | None = None
    """None while it is not known whether the CA took the order."""
