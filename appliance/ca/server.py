"""The demo CA as one object: requests in, answers out, without sockets. Time, chance and validation are passed in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from random import Random
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from appliance.ca import accounts, authorizations, certificates, orders
from appliance.ca.authority import NAME, Authority
from appliance.ca.core import Core, Nonces, Posted, Response, document, link
from appliance.ca.model import Identifier, Issued
from appliance.ca.policy import Policy
from appliance.ca.problems import RefusalError, as_json, problem, refusal
from appliance.ca.validation import UnprovenError, Validator
from appliance.errors import ApplianceError, Problem

MAX_BODY = 64 * 1024
"""Bytes of a request's body."""

TERMS = (
    f"{NAME}.\n"
    "This certificate authority exists for demonstrations, rehearsals and tests. Nobody trusts its roots,\n"
    "nobody should, and its keys are not protected. It is not for production names.\n"
)


class Outage(Enum):
    """How a CA may fail as a whole."""

    NONE = "it works"
    ERROR = "it answers everything with 503"
    DROP = "it closes connections without an answer"
    HANG = "it never answers"


class NoAnswerError(ApplianceError):
    """There is no answer to give: ``hang`` tells silence from a closed connection."""

    def __init__(self, hang: bool) -> None:
        self.hang = hang
        super().__init__("the demo CA is playing dead" if hang else "the demo CA drops its connections")


@frozen
class _Route:
    pattern: re.Pattern[str]
    endpoint: Callable[..., Response]
    signer: str
    """Which header names the key: kid, jwk, or either of them."""


def _route(path: str, endpoint: Callable[..., Response], signer: str = "kid") -> _Route:
    pattern = path.replace("#", r"([1-9][0-9]{0,17})").replace("@", r"([A-Za-z0-9_.-]{1,200})").replace("?", "([0-9])")
    return _Route(re.compile(pattern), endpoint, signer)


_ROUTES = (
    _route("new-account", accounts.new_account, "jwk"),
    _route("account/#", accounts.account),
    _route("account/#/orders", accounts.account_orders),
    _route("key-change", accounts.key_change),
    _route("new-order", orders.new_order),
    _route("order/#", orders.order),
    _route("order/#/finalize", orders.finalize),
    _route("authorization/#", authorizations.authorization),
    _route("challenge/#/?", authorizations.challenge),
    _route("certificate/@", certificates.certificate),
    _route("certificate/@/alternate", certificates.alternate_certificate),
    _route("revoke-cert", certificates.revoke, "either"),
)


class EmbeddedCa:
    """A small RFC 8555 server. Not for production names: nobody trusts its root, and its keys are not protected.

    ``policy`` and ``outage`` may be replaced at any time. ``counts`` has the number of answers per endpoint and of
    refusals per problem type. A client can be connected through ``handle``, ``memory.MemoryAgent`` or a listener.
    """

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], datetime],
        validators: Mapping[str, Validator],
        policy: Policy | None = None,
        authority: Authority | None = None,
        base_url: str = "http://demo-ca.internal",
        random: Random | None = None,
    ) -> None:
        """``validators`` go by challenge type; a new authority is made when none is given."""
        policy = policy or Policy()
        chance = random or Random()
        self.outage = Outage.NONE
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._validators = validators
        self._core = Core(
            policy=policy,
            authority=authority or Authority.create(now(), policy.suffixes),
            base_url=base_url,
            now=now,
            later=self._later,
            challenge_types=tuple(validators),
            validate=self._validate,
            nonces=Nonces(chance),
        )

    _log = Logger()

    @property
    def policy(self) -> Policy:
        """What it does and refuses."""
        return self._core.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._core.policy = policy

    @property
    def base_url(self) -> str:
        """Scheme, host and port; whoever listens sets it before the first request."""
        return self._core.base_url

    @base_url.setter
    def base_url(self, url: str) -> None:
        self._core.base_url = url

    @property
    def directory_url(self) -> str:
        """Where clients begin."""
        return self._core.url("directory")

    @property
    def authority(self) -> Authority:
        """Its keys and certificates."""
        return self._core.authority

    @property
    def now(self) -> Callable[[], datetime]:
        """Its wall clock."""
        return self._core.now

    @property
    def root_pem(self) -> bytes:
        """The root that its default chains end at."""
        return self._core.authority.root_pem

    @property
    def issued(self) -> tuple[Issued, ...]:
        """The certificates it still remembers, oldest first."""
        return tuple(self._core.certificates)

    def handle(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Answer one request. ``url`` is absolute or a path, header names are lower-case.

        Raises NoAnswerError in an outage of that kind.
        """
        if self.outage in (Outage.DROP, Outage.HANG):
            raise NoAnswerError(self.outage is Outage.HANG)
        path = url.removeprefix(self.base_url + "/") if url.startswith(self.base_url + "/") else url.removeprefix("/")
        try:
            if self.outage is Outage.ERROR:
                raise RefusalError(problem("serverInternal", "the CA is down for maintenance", status=503))
            response = self._answer(method, path, headers, body)
        except RefusalError as refused:
            response = self._refuse(refused)
        except Exception:
            self._log.failure("demo CA: {method} {path}", method=method, path=path[:200])
            response = self._refuse(refusal("serverInternal", "a mistake in the demo CA; its log says more"))
        return self._complete(method, path, response)

    def _answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        plain = self._plain(method, path)
        if plain is not None:
            return plain
        for route in _ROUTES:
            match = route.pattern.fullmatch(path)
            if match is not None:
                if method != "POST":
                    raise _wrong_method("POST")
                posted = self._authenticated(route, path, headers, body)
                parts = (int(part) if part.isdigit() else part for part in match.groups())
                response = route.endpoint(self._core, posted, *parts)
                self.counts[route.endpoint.__name__] += 1
                return response
        raise refusal("malformed", "there is no such resource", status=404)

    def _plain(self, method: str, path: str) -> Response | None:
        """The resources that are read without signature."""
        found: Callable[[], Response]
        if path == "directory":
            found = self._directory
        elif path == "new-nonce":
            found = lambda: Response(200 if method == "HEAD" else 204)  # noqa: E731
        elif path == "terms":
            found = lambda: Response(200, (("Content-Type", "text/plain"),), TERMS.encode())  # noqa: E731
        elif path.startswith("renewal-info/"):
            found = lambda: certificates.renewal_info(self._core, path.removeprefix("renewal-info/"))  # noqa: E731
        else:
            return None
        if method not in ("GET", "HEAD"):
            raise _wrong_method("GET, HEAD")
        self.counts[path.partition("/")[0].replace("-", "_")] += 1
        return found()

    def _authenticated(self, route: _Route, path: str, headers: Mapping[str, str], body: bytes) -> Posted:
        if len(body) > MAX_BODY:
            raise refusal("malformed", f"the body is larger than {MAX_BODY} bytes", status=413)
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/jose+json":
            raise refusal("malformed", "the Content-Type must be application/jose+json", status=415)
        posted = accounts.authenticate(self._core, self._core.url(path), body)
        if route.signer != "either" and (posted.account is None) != (route.signer == "jwk"):
            raise refusal("malformed", f"this resource wants a request signed with {route.signer} in its header")
        return posted

    def _directory(self) -> Response:
        core = self._core
        meta: dict[str, Any] = {
            "termsOfService": core.url("terms"),
            "website": core.url("terms"),
            "caaIdentities": ["demo-ca.invalid"],
            "externalAccountRequired": bool(core.policy.external_accounts),
            "notice": f"{NAME}: for demonstrations, rehearsals and tests, not for production names",
        }
        if core.policy.profiles:
            meta["profiles"] = {name: each.description for name, each in core.policy.profiles.items()}
        content: dict[str, Any] = {
            "newNonce": core.url("new-nonce"),
            "newAccount": core.url("new-account"),
            "newOrder": core.url("new-order"),
            "revokeCert": core.url("revoke-cert"),
            "keyChange": core.url("key-change"),
            "meta": meta,
        }
        if core.policy.renewal_window is not None:
            content["renewalInfo"] = core.url("renewal-info")
        return document(200, content)

    def _refuse(self, refused: RefusalError) -> Response:
        self.counts[refused.problem.code] += 1
        content = as_json(refused.problem) | refused.members
        response = document(refused.problem.status, content, *refused.headers)
        return Response(
            response.status, (("Content-Type", "application/problem+json"), *response.headers[1:]), response.body
        )

    def _complete(self, method: str, path: str, response: Response) -> Response:
        """With what every answer carries (RFC 8555 sections 6.5 and 7.1)."""
        headers = [*response.headers, ("Cache-Control", "no-store")]
        if method == "POST" or path == "new-nonce":
            headers.append(("Replay-Nonce", self._core.nonces.fresh()))
        if path != "directory":
            headers.append(link(self.directory_url, "index"))
        return Response(response.status, tuple(headers), b"" if method == "HEAD" else response.body)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        if seconds > 0:
            self._clock.callLater(seconds, call)
        else:
            call()

    def _validate(
        self,
        type: str,
        identifier: Identifier,
        token: str,
        key_authorization: str,
        settled: Callable[[Problem | None], None],
    ) -> None:
        validator = self._validators[type]

        def failed(failure: Failure) -> Problem:
            if isinstance(failure.value, UnprovenError):
                return failure.value.problem
            self._log.failure("demo CA: {type} of {name}", failure, type=type, name=identifier.value)
            return problem("serverInternal", "a mistake in the demo CA's validation; its log says more")

        outcome: Deferred[Any] = maybeDeferred(validator, identifier, token, key_authorization)
        outcome.addCallbacks(lambda _: None, failed).addCallback(settled)
        outcome.addErrback(
            lambda failure: self._log.failure("demo CA: settling {name}", failure, name=identifier.value)
        )


def _wrong_method(allowed: str) -> RefusalError:
    return RefusalError(problem("malformed", f"the method must be {allowed}", status=405), (("Allow", allowed),))
