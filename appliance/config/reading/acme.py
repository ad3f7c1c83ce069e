"""How ``[acme]`` and its ``[[acme.issuer]]`` are read."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from appliance.acme import keys
from appliance.config import LETS_ENCRYPT, Acme, CertificateAuthority, ExternalAccount
from appliance.config.reading import values
from appliance.config.reading.dns import DNS
from appliance.config.reading.schema import Many, Place, Reader, Refused, Table, unique

WHY_AGREE = "a CA issues certificates only to those who agree to its terms of service"


def _external_account(
    place: Place, kid: str, hmac_key: str | None = None, hmac_key_file: str | None = None
) -> ExternalAccount:
    key = hmac_key or hmac_key_file
    if key is None or (hmac_key and hmac_key_file):
        raise Refused("needs hmac_key or hmac_key_file, and only one of them")
    return ExternalAccount(kid, key)


def _issuer(**given: Any) -> dict[str, Any]:
    """Kept as it is until the defaults are known."""
    return given


def _check(place: Place, found: Mapping[str, Any], others: Set[str]) -> None:
    if "directory" in found and ("issuer" in found or "issuer" in others):
        place.at("directory").note("is for a single CA, and there are [[acme.issuer]] tables: move it into one of them")


def _acme(issuer: tuple[dict[str, Any], ...] = (), directory: str | None = None, **given: Any) -> Acme:
    """Hand the table's own keys down to the issuers as defaults."""
    defaults: dict[str, Any] = {key: given[key] for key in ("email", "agree_tos", "ca_file") if key in given}
    issuers = tuple(CertificateAuthority(**(defaults | each)) for each in issuer)
    return Acme(directory=directory or LETS_ENCRYPT, issuer=issuers, **given)


def _agreed(value: object, place: Place) -> bool:
    if not values.boolean(value, place):
        raise Refused(f"must be true; {WHY_AGREE}")
    return True


KEY_TYPE = values.one_of(*keys.TYPES)

EXTERNAL_ACCOUNT = Table(
    {"kid": values.text, "hmac_key": values.hmac_key, "hmac_key_file": values.hmac_key_file},
    _external_account,
    required={"kid": "the key's identifier, which the CA hands out with it"},
    at_place=True,
)

AUTHORITY: dict[str, Reader[Any]] = {
    "email": values.email,
    "ca_file": values.certificates_file,
    "external_account": EXTERNAL_ACCOUNT,
    "profile": values.text,
    "preferred_chain": values.text,
}

ISSUER: Table[dict[str, Any]] = Table(
    {"name": unique(values.text), "directory": unique(values.directory_url), **AUTHORITY},
    _issuer,
    required={
        "name": "what sites and messages call this CA",
        "directory": "where the CA is",
    },
)

ACME = Table(
    {
        "name": values.text,
        "directory": values.directory_url,
        "agree_tos": _agreed,
        **AUTHORITY,
        "issuer": Many(ISSUER),
        "key_type": KEY_TYPE,
        "max_orders": values.whole(1, 1000),
        "rehearsal": values.directory_url,
        "dns": DNS,
    },
    _acme,
    required={"agree_tos": f"set it to true; {WHY_AGREE}"},
    check=_check,
)
