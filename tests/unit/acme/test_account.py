"""Accounts: registered once, kept on disk, found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from appliance.acme.account import Account, AccountFiles, open_account
from appliance.acme.client import AcmeClient
from appliance.acme.jose import AccountKey, b64url
from appliance.config import Acme, ExternalAccount
from appliance.errors import AcmeError, AcmeProblemError, AcmeProtocolError, StoreError
from tests.support.scriptedca import BASE, DIRECTORY, Asked, Reply, ScriptedCa, problem

T = TypeVar("T")
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ACCOUNT = f"{BASE}/account/1"
REGISTERED = Reply({"status": "valid", "contact": ["mailto:a@b.test"]}, 201, {"Location": ACCOUNT})
FOUND = Reply({"status": "valid", "contact": ["mailto:a@b.test"]}, 200, {"Location": ACCOUNT})


def at_once(function: Callable[[], T], /) -> Deferred[T]:
    """Disk work without a thread."""
    return maybeDeferred(function)


class Scene:
    """A CA, a state folder, and what the operator configured."""

    def __init__(self, state_dir: Path) -> None:
        self.ca = ScriptedCa()
        self.ca.on("/account", REGISTERED)
        self.state_dir = state_dir
        self.acme = Acme(directory=self.ca.directory_url, email="a@b.test", agree_tos=True)
        self.files = AccountFiles.of(state_dir, self.acme.directory)

    def open(self, **options: Any) -> Account:
        """What a start of the service does."""
        client = AcmeClient(Clock(), self.ca, self.ca.directory_url, lambda: NOW)
        outcome: list[Any] = []
        opening = open_account(client, self.acme, self.state_dir, lambda: NOW, at_once, **options)
        Deferred.fromCoroutine(opening).addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        account: Account = outcome[0]
        return account

    def registrations(self) -> list[Asked]:
        """What was asked of newAccount."""
        return self.ca.requests("/account")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "state")


@pytest.fixture
def logged() -> Any:
    """The events logged during a test."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    yield events
    globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]


def test_first_registration(scene: Scene) -> None:
    """Terms, contact, the key itself in the header; key 0600 in a folder 0700."""
    account = scene.open()
    (asked,) = scene.registrations()
    assert asked.payload == {"termsOfServiceAgreed": True, "contact": ["mailto:a@b.test"]}
    assert asked.protected is not None
    assert asked.protected["jwk"] == account.key.public_jwk
    assert account.url == ACCOUNT
    assert AccountKey.from_pem(scene.files.key.read_bytes()).thumbprint == account.key.thumbprint
    assert scene.files.key.stat().st_mode & 0o777 == 0o600
    assert scene.files.folder.stat().st_mode & 0o777 == 0o700
    assert json.loads(scene.files.details.read_bytes()) == {"url": ACCOUNT, "contact": ["mailto:a@b.test"]}


def test_second_start_asks_nothing(scene: Scene) -> None:
    """Key and URL come from the files."""
    first = scene.open()
    asked = len(scene.ca.asked)
    second = scene.open()
    assert (second.url, second.key.thumbprint) == (first.url, first.key.thumbprint)
    assert len(scene.ca.asked) == asked


def test_requests_carry_the_account(scene: Scene) -> None:
    """POST and POST-as-GET, signed under its URL."""
    account = scene.open()
    scene.ca.on("/thing", Reply())
    for request in (account.post(f"{BASE}/thing", {"a": 1}, "x"), account.fetch(f"{BASE}/thing", "x")):
        assert Deferred.fromCoroutine(request).called
    posted, fetched = scene.ca.requests("/thing")
    assert (posted.payload, fetched.payload) == ({"a": 1}, None)
    assert posted.protected is not None
    assert posted.protected["kid"] == ACCOUNT


def test_without_email(scene: Scene) -> None:
    """A contact is optional."""
    scene.acme = evolve(scene.acme, email=None)
    scene.open()
    assert scene.registrations()[0].payload["contact"] == []


def test_lost_url_is_asked_again_with_the_same_key(scene: Scene) -> None:
    """The key is the account; nothing is told anew when the contact is the same."""
    first = scene.open()
    scene.files.details.unlink()
    scene.ca.on("/account", FOUND)
    second = scene.open()
    assert second.key.thumbprint == first.key.thumbprint
    assert scene.ca.paths() == ["/account", "/account"]


def test_forgotten_by_the_ca(scene: Scene) -> None:
    """The same key is registered again, and the new URL remembered."""
    first = scene.open()
    moved = Reply({"status": "valid"}, 201, {"Location": f"{BASE}/account/2"})
    scene.ca.on("/account", moved)
    second = scene.open(forget=True)
    assert second.key.thumbprint == first.key.thumbprint
    assert second.url == scene.open().url == f"{BASE}/account/2"
    assert len(scene.registrations()) == 2


def test_changed_contact_is_told(scene: Scene) -> None:
    """An account that exists keeps its contact until it is told another (section 7.3.2); once is enough."""
    scene.open()
    scene.acme = evolve(scene.acme, email="new@b.test")
    scene.ca.on("/account", FOUND)
    scene.ca.on("/account/1", Reply({"status": "valid"}))
    scene.open()
    assert [asked.payload for asked in scene.ca.requests("/account/1")] == [{"contact": ["mailto:new@b.test"]}]
    scene.open()
    assert len(scene.ca.requests("/account/1")) == 1


def test_refused_contact_stops_no_certificate(scene: Scene, logged: list[LogEvent]) -> None:
    """It is logged, with the CA's words."""
    scene.acme = evolve(scene.acme, email="new@b.test")
    scene.ca.on("/account", FOUND)
    scene.ca.on("/account/1", problem("invalidContact", "no such domain"))
    assert scene.open().url == ACCOUNT
    assert any("no such domain" in str(event.get("error")) for event in logged)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff" * 100])
def test_broken_key_is_set_aside(scene: Scene, logged: list[LogEvent], content: bytes) -> None:
    """A new account is better than none; the file is kept for a human, and the log says so."""
    scene.open()
    scene.files.key.write_bytes(content)
    scene.open()
    assert len(scene.registrations()) == 2
    assert [file.read_bytes() for file in scene.files.folder.glob("key.pem.corrupt-*")] == [content]
    assert any("not a readable PEM" in str(event.get("complaint")) for event in logged)


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b"[]", b"{}", b'{"url": 5, "contact": []}', b'{"url": "https://x"}', b"[" * 100_000]
)
def test_broken_details_are_set_aside(scene: Scene, logged: list[LogEvent], content: bytes) -> None:
    """The same key finds the account again."""
    first = scene.open()
    scene.files.details.write_bytes(content)
    scene.ca.on("/account", FOUND)
    second = scene.open()
    assert (second.url, second.key.thumbprint) == (first.url, first.key.thumbprint)
    assert len(list(scene.files.folder.glob("account.json.corrupt-*"))) == 1
    assert any("is broken" in str(event.get("complaint")) for event in logged)


def test_each_ca_has_its_folder(tmp_path: Path) -> None:
    """Readable, and never the same for two URLs, however odd."""
    urls = [
        "https://acme-v02.api.letsencrypt.org/directory",
        "https://ca.test/a/b",
        "https://ca.test/a-b",
        "https://ca.test/../../etc",
        "https://ca.test/" + "x" * 500,
    ]
    folders = [AccountFiles.of(tmp_path, url).folder for url in urls]
    assert len(set(folders)) == len(urls)
    assert {folder.parent for folder in folders} == {tmp_path / "accounts"}
    assert folders[0].name.startswith("acme-v02.api.letsencrypt.org-directory-")
    assert max(len(folder.name) for folder in folders) < 120


def test_terms_must_be_agreed_to(scene: Scene) -> None:
    """Not registered; the message has the address of the terms and the key to set."""
    scene.acme = evolve(scene.acme, agree_tos=False)
    scene.ca.on("/directory", Reply({**DIRECTORY, "meta": {"termsOfService": "https://ca.test/terms"}}))
    with pytest.raises(AcmeError, match=r"read https://ca\.test/terms and set acme\.agree_tos = true"):
        scene.open()
    assert not scene.registrations()


def test_external_account(scene: Scene) -> None:
    """Bound to the key and the URL of newAccount."""
    scene.acme = evolve(scene.acme, external_account=ExternalAccount("kid-1", b64url(b"secret" * 6)))
    account = scene.open()
    bound = scene.registrations()[0].payload["externalAccountBinding"]
    assert bound == account.key.bind("kid-1", b64url(b"secret" * 6), url=f"{BASE}/account")


def test_external_account_missing(scene: Scene) -> None:
    """The CA says that it wants one: the key to set is named before anything is sent."""
    scene.ca.on("/directory", Reply({**DIRECTORY, "meta": {"externalAccountRequired": True}}))
    with pytest.raises(AcmeError, match=r"put them into acme\.external_account"):
        scene.open()
    assert not scene.registrations()


def test_deactivated_account(scene: Scene) -> None:
    """Said plainly, with the way out."""
    scene.ca.on("/account", Reply({"status": "deactivated"}, 200, {"Location": ACCOUNT}))
    with pytest.raises(AcmeError, match="the CA has deactivated this account; move its folder away"):
        scene.open()


def test_registration_without_url(scene: Scene) -> None:
    """An account that cannot be named is of no use."""
    scene.ca.on("/account", Reply({"status": "valid"}, 201))
    with pytest.raises(AcmeProtocolError, match="did not say the account's URL"):
        scene.open()


def test_refused_registration(scene: Scene) -> None:
    """The CA's words; the key stays for the next attempt."""
    scene.ca.on("/account", problem("rateLimited", "too many accounts", 429), REGISTERED)
    with pytest.raises(AcmeProblemError, match="register the account: the CA answered rateLimited: too many accounts"):
        scene.open()
    thumbprint = AccountKey.from_pem(scene.files.key.read_bytes()).thumbprint
    assert scene.open().key.thumbprint == thumbprint


def test_unwritable_details_cost_only_a_question(
    scene: Scene, logged: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account works all the same."""

    def full(self: AccountFiles, url: str, contact: tuple[str, ...]) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(AccountFiles, "remember", full)
    assert scene.open().url == ACCOUNT
    assert any("no space left" in str(event.get("error")) for event in logged)


def test_key_that_cannot_be_kept(scene: Scene) -> None:
    """No account is registered with a key that would be lost."""
    scene.state_dir.write_text("a file where the folder should be")
    with pytest.raises(StoreError):
        scene.open()
    assert not scene.ca.asked
