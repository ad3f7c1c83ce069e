"""What all endpoints of the demo CA share: its bounded tables, its nonces, its budgets, and the world passed in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Hashable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, Generic, Protocol, TypeVar

from attrs import Factory, define, frozen
from josepy.jwk import JWK

from appliance.ca.authority import Authority
from appliance.ca.jws import read_json
from appliance.ca.limits import Budget
from appliance.ca.model import Account, Authorization, Identifier, Issued, Order
from appliance.ca.policy import Policy
from appliance.ca.problems import limited, refusal
from appliance.errors import Problem

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@frozen
class Response:
    """What goes back to the client."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@frozen
class Posted:
    """A request whose signature, nonce and URL were found right."""

    url: str
    payload: bytes
    key: JWK
    account: Account | None = None
    """None if it was signed by a bare key (``jwk``)."""

    @property
    def signer(self) -> Account:
        """The account; only for endpoints that demand one."""
        assert self.account is not None
        return self.account

    @property
    def is_get(self) -> bool:
        """Whether it is a POST-as-GET (RFC 8555 section 6.3)."""
        return not self.payload

    def fields(self) -> dict[str, Any]:
        """The payload, which must be an object."""
        found = read_json(self.payload)
        if not isinstance(found, dict):
            raise refusal("malformed", "the payload must be a JSON object")
        return found


class Table(Generic[K, V]):
    """Records of one kind, by key. Bounded: the expired ones make room, then new ones are refused."""

    def __init__(self, what: str, expired: Callable[[V, datetime], bool]) -> None:
        self._what = what
        self._expired = expired
        self._records: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[V]:
        return iter(self._records.values())

    def get(self, key: K) -> V | None:
        """The record, or None."""
        return self._records.get(key)

    def put(self, key: K, record: V) -> None:
        """Replace a record by its next version."""
        self._records[key] = record

    def make_room(self, count: int, bound: int, now: datetime) -> None:
        """Drop what has expired if ``count`` more do not fit; refuse if they still do not."""
        if len(self._records) + count > bound:
            self._records = {key: each for key, each in self._records.items() if not self._expired(each, now)}
        if len(self._records) + count > bound:
            raise limited(f"this demo CA holds no more than {bound} {self._what}", 60, status=503)


class Nonces:
    """Nonces that were handed out and not yet used (RFC 8555 section 6.5), the newest ``bound`` of them."""

    def __init__(self, random: Random, bound: int = 10_000) -> None:
        self._random = random
        self._bound = bound
        self._unused: dict[str, None] = {}

    def fresh(self) -> str:
        """A new one, 128 bits."""
        nonce = secrets.token_urlsafe(16)
        self._unused[nonce] = None
        if len(self._unused) > self._bound:
            del self._unused[next(iter(self._unused))]
        return nonce

    def use(self, nonce: object, reject: float) -> None:
        """Take it out of circulation; refuse unknown and used ones, and good ones with the probability ``reject``."""
        known = isinstance(nonce, str) and nonce in self._unused
        if isinstance(nonce, str):
            self._unused.pop(nonce, None)
        if not known:
            raise refusal("badNonce", "the nonce is unknown or used")
        if reject and self._random.random() < reject:
            raise refusal("badNonce", "the nonce was good; this CA rejects some of them for practice")


class StartValidation(Protocol):
    """How a validation is started: ``settled`` is called once, with None or what is wrong, at once or later."""

    def __call__(
        self,
        type: str,
        identifier: Identifier,
        token: str,
        key_authorization: str,
        settled: Callable[[Problem | None], None],
    ) -> None:
        """Never raises."""


@define
class Budgets:
    """What was used of each of the policy's rate limits."""

    accounts: Budget = Factory(lambda: Budget("new accounts"))
    orders: Budget = Factory(lambda: Budget("new orders of this account"))
    name_sets: Budget = Factory(lambda: Budget("certificates for exactly this set of names"))
    domains: Budget = Factory(lambda: Budget("certificates for this domain"))
    failures: Budget = Factory(lambda: Budget("failed validations of this name"))


@define
class Core:
    """One CA's state. Single owner: the EmbeddedCa; endpoints are functions of it."""

    policy: Policy
    """Replaced as a whole by who wants to change the rules."""
    authority: Authority
    base_url: str
    """Without a slash at its end."""
    now: Callable[[], datetime]
    later: Callable[[float, Callable[[], None]], None]
    """Call after so many seconds, at once if zero."""
    challenge_types: tuple[str, ...]
    """Those that ``validate`` knows."""
    validate: StartValidation
    nonces: Nonces
    accounts: Table[int, Account] = Factory(lambda: Table("accounts", lambda each, now: False))
    account_ids: dict[bytes, int] = Factory(dict)
    """By key thumbprint."""
    orders: Table[int, Order] = Factory(lambda: Table("orders", lambda each, now: each.expires <= now))
    authorizations: Table[int, Authorization] = Factory(
        lambda: Table("authorizations", lambda each, now: each.expires <= now)
    )
    certificates: Table[str, Issued] = Factory(lambda: Table("certificates", lambda each, now: each.expires <= now))
    budgets: Budgets = Factory(Budgets)
    _last_id: int = 0

    def new_id(self) -> int:
        """A number not used for any other object."""
        self._last_id += 1
        return self._last_id

    def url(self, *segments: object) -> str:
        """The absolute URL of one of our resources."""
        return "/".join((self.base_url, *map(str, segments)))

    def poll_headers(self) -> tuple[tuple[str, str], ...]:
        """Retry-After for something unfinished, if the policy names one."""
        seconds = self.policy.poll_after
        return () if seconds is None else (("Retry-After", str(seconds)),)


def document(status: int, content: dict[str, Any], *headers: tuple[str, str]) -> Response:
    """A JSON answer."""
    return Response(status, (("Content-Type", "application/json"), *headers), json.dumps(content).encode())


def link(url: str, relation: str) -> tuple[str, str]:
    """A Link header (RFC 8288)."""
    return ("Link", f'<{url}>;rel="{relation}"')


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def not_found(what: str) -> Exception:
    """404, for what does not exist or is another account's: the two are not told apart."""
    return refusal("malformed", f"there is no such {what}, or it is not yours", status=404)
