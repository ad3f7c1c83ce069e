"""What an account can do beside ordering: revoke certificates, change its key (RFC 8555 sections 7.3.5 and 7.6)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger

from appliance import atomicfile
from appliance.acme import messages
from appliance.acme.account import Account, AccountFiles
from appliance.acme.client import AcmeClient
from appliance.acme.jose import AccountKey, b64url
from appliance.errors import AcmeConnectionError, AcmeError, AcmeProblemError
from appliance.store import Defer
from appliance.tls.certificate import Certificate

log = Logger()

REASONS: Mapping[str, int] = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
}
"""Those of RFC 5280 section 5.3.1 that subscribers may give."""

ROLLOVER = "change the account's key"


async def revoke(client: AcmeClient, certificate: Certificate, reason: str) -> None:
    """Revoke, signed with the certificate's own key: so it does not matter which account, or which client, got it.

    That it was revoked before is no error. Raises AcmeProblemError and what else ``AcmeClient.post`` does.
    """
    step = f"revoke the certificate {certificate.serial:x}"
    url = (await client.directory()).revoke_certificate
    if url is None:
        raise AcmeError(f"{step}: {client.directory_url} offers no revocation")
    payload = {"certificate": b64url(certificate.leaf.public_bytes(Encoding.DER)), "reason": REASONS[reason]}
    try:
        await client.post(url, payload, key=AccountKey.of(certificate.key), step=step)
    except AcmeProblemError as error:
        if error.problem.code != "alreadyRevoked":
            raise


async def roll_over(account: Account, files: AccountFiles, defer: Defer) -> Account:
    """
    Give the account a new key; the account as it is then.

    The new key is written, as ``key.pem.next``, before the CA is told of it, so that at no moment the key the CA knows
    is on no disk. Where its answer is lost, it is asked which key it knows. Raises AcmeError subclasses, StoreError.
    """
    url = (await account.client.directory()).key_change
    if url is None:
        raise AcmeError(f"{ROLLOVER}: {account.client.directory_url} offers no change of keys")
    following = files.key.with_name(f"{files.key.name}.next")
    key = await defer(lambda: _next_key(following))
    try:
        await account.post(url, key.take_over(account.url, account.key, url=url), ROLLOVER)
    except AcmeError as error:
        if not await _is_known(account, key, error):
            raise
    content = key.to_pem()
    await defer(lambda: atomicfile.replace(files.key, content, files.key.with_name(f"{files.key.name}.previous")))
    await defer(lambda: following.unlink(missing_ok=True))
    log.info("ACME account {url} has a new key", url=account.url)
    return Account(account.client, key, account.url)


def _next_key(path: Path) -> AccountKey:
    """One that was begun with earlier, else a fresh one; on disk when this returns. Blocks."""
    content = atomicfile.read(path)
    if content is not None:
        return AccountKey.from_pem(content)
    key = AccountKey.generate()
    atomicfile.replace(path, key.to_pem())
    return key


async def _is_known(account: Account, key: AccountKey, error: AcmeError) -> bool:
    """Whether the CA has taken the new key although we saw an error."""
    if not isinstance(error, AcmeConnectionError | AcmeProblemError):
        return False
    payload = {"onlyReturnExisting": True}
    try:
        directory = await account.client.directory()
        answer = await account.client.post(directory.new_account, payload, key=key, step=ROLLOVER)
    except AcmeProblemError:
        return False
    except AcmeConnectionError as later:
        raise AcmeConnectionError(
            f"{error}. It is not known whether the CA took the new key, which is kept: run this again"
        ) from later
    messages.Account.from_json(answer.json())
    return answer.location == account.url
