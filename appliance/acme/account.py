"""An ACME account and its files (RFC 8555 section 7.3).

``STATE_DIR/accounts/ISSUER/key.pem`` is the account: with it, the CA tells the URL again. ``account.json`` beside it
remembers that URL and the contact last told to the CA, so that a restart asks nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.logger import Logger

from appliance import atomicfile
from appliance.acme import messages
from appliance.acme.client import AcmeClient, Answer
from appliance.acme.jose import AccountKey
from appliance.config import CertificateAuthority as Authority
from appliance.errors import AcmeError, AcmeProblemError, AcmeProtocolError, StoreError
from appliance.store import Defer

log = Logger()

REGISTER = "register the account"


@frozen
class Account:
    """A registered account: what signs requests."""

    client: AcmeClient
    key: AccountKey
    url: str

    async def post(self, url: str, payload: object, step: str) -> Answer:
        """POST ``payload`` in this account's name. Raises as :meth:`AcmeClient.post`."""
        return await self.client.post(url, payload, key=self.key, kid=self.url, step=step)

    async def fetch(self, url: str, step: str) -> Answer:
        """POST-as-GET. Raises as :meth:`AcmeClient.post`."""
        return await self.client.post(url, None, key=self.key, kid=self.url, step=step)


@frozen
class SavedAccount:
    """What the files say."""

    key: AccountKey
    url: str | None = None
    """None until registered, or when forgotten."""
    contact: tuple[str, ...] = ()
    complaints: tuple[str, ...] = field(default=(), eq=False)
    """Files that were set aside, to be logged where it is safe to."""


@frozen
class AccountFiles:
    """Reads and writes one account's folder; blocks, so it runs in a thread. All methods raise StoreError."""

    folder: Path

    @classmethod
    def of(cls, state_dir: Path, directory_url: str) -> AccountFiles:
        """The folder for a CA: readable, and different for different URLs."""
        parts = urlsplit(directory_url)
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", parts.netloc + parts.path).strip("-.")[:100]
        return cls(state_dir / "accounts" / f"{readable}-{sha256(directory_url.encode()).hexdigest()[:8]}")

    @property
    def key(self) -> Path:
        """The account's private key, PEM, 0600."""
        return self.folder / "key.pem"

    @property
    def details(self) -> Path:
        """What is remembered of it, JSON."""
        return self.folder / "account.json"

    def load(self, now: datetime) -> SavedAccount:
        """What is there; without a usable key a new one is made and written first. Broken files are set aside."""
        atomicfile.make_private_folder(self.folder)
        atomicfile.remove_temporaries(self.folder)
        pem = atomicfile.read(self.key)
        if pem is None:
            return self._made()
        try:
            key = AccountKey.from_pem(pem)
        except AcmeError as error:
            aside = atomicfile.set_aside(self.key, now)
            return self._made(f"{error}; it was set aside as {aside}, and a new account will be registered")
        try:
            url, contact = _parse_details(atomicfile.read(self.details))
        except (ValueError, RecursionError) as error:
            aside = atomicfile.set_aside(self.details, now)
            return SavedAccount(key, complaints=(f"{self.details} is broken ({error}) and was set aside as {aside}",))
        return SavedAccount(key, url, contact)

    def remember(self, url: str, contact: tuple[str, ...]) -> None:
        """Write what registration told."""
        details = json.dumps({"url": url, "contact": contact}, indent=1)
        atomicfile.replace(self.details, details.encode("utf-8"))

    def _made(self, *complaints: str) -> SavedAccount:
        key = AccountKey.generate()
        atomicfile.replace(self.key, key.to_pem())
        return SavedAccount(key, complaints=complaints)


def _parse_details(content: bytes | None) -> tuple[str | None, tuple[str, ...]]:
    if content is None:
        return None, ()
    details = json.loads(content)
    if not isinstance(details, dict):
        raise ValueError("not a JSON object")
    url, contact = details.get("url"), details.get("contact")
    if not isinstance(url, str) or not isinstance(contact, list):
        raise ValueError("url or contact is missing")
    return url, tuple(str(item) for item in contact)


async def open_account(
    client: AcmeClient,
    acme: Authority,
    state_dir: Path,
    now: Callable[[], datetime],
    defer: Defer,
    *,
    forget: bool = False,
) -> Account:
    """The account of ``acme``'s CA: from its files, else registered with the key in them, else with a new key.

    ``forget``: the CA no longer knows the URL on file; the same key is registered again. A contact that has changed
    is told to the CA. Raises AcmeError subclasses, StoreError.
    """
    files = AccountFiles.of(state_dir, acme.directory)
    saved = await defer(lambda: files.load(now()))
    for complaint in saved.complaints:
        log.error("ACME account: {complaint}", complaint=complaint)
    contact = (f"mailto:{acme.email}",) if acme.email else ()
    if saved.url is not None and saved.contact == contact and not forget:
        return Account(client, saved.key, saved.url)
    account = await _register(client, acme, saved.key, contact)
    log.info("ACME account {url} at {directory}", url=account.url, directory=acme.directory)
    try:
        await defer(lambda: files.remember(account.url, contact))
    except StoreError as error:
        # The key is safe, so the next start only has to ask for the URL again.
        log.warn("ACME account: {error}", error=error)
    return account


async def _register(client: AcmeClient, acme: Authority, key: AccountKey, contact: tuple[str, ...]) -> Account:
    """``newAccount``; for a key that the CA knows it answers with that account (section 7.3.1)."""
    directory = await client.directory()
    if directory.terms_of_service is not None and not acme.agree_tos:
        raise AcmeError(
            f"{REGISTER}: {acme.directory} has terms of service; read {directory.terms_of_service[:500]}"
            " and set acme.agree_tos = true"
        )
    payload: dict[str, object] = {"termsOfServiceAgreed": acme.agree_tos, "contact": contact}
    if acme.external_account is not None:
        external = acme.external_account
        payload["externalAccountBinding"] = key.bind(external.kid, external.hmac_key, url=directory.new_account)
    elif directory.external_account_required:
        raise AcmeError(
            f"{REGISTER}: {acme.directory} wants an external account; get a key id and an HMAC key from this CA"
            " and put them into acme.external_account"
        )
    answer = await client.post(directory.new_account, payload, key=key, step=REGISTER)
    described = messages.Account.from_json(answer.json())
    if described.status != "valid":
        raise AcmeError(f"{REGISTER}: the CA has {described.status} this account; move its folder away to get another")
    if answer.location is None:
        raise AcmeProtocolError(f"{REGISTER}: the CA did not say the account's URL")
    account = Account(client, key, answer.location)
    if answer.status == 200 and set(described.contact) != set(contact):
        await _tell_contact(account, contact)
    return account


async def _tell_contact(account: Account, contact: tuple[str, ...]) -> None:
    """An account that existed keeps its old contact until told (section 7.3.2). No certificate waits for this."""
    try:
        await account.post(account.url, {"contact": contact}, "change the account's contact")
    except AcmeProblemError as error:
        log.warn("ACME account {url}: {error}", url=account.url, error=error)
