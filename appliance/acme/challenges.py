"""What a CA that validates is shown (RFC 8555 section 8): the HTTP-01 table, and what txacme responders are given."""

from __future__ import annotations

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface import implementer

from appliance.acme.messages import TOKEN
from appliance.errors import AcmeError

WELL_KNOWN = "/.well-known/acme-challenge/"


@frozen
class PresentedChallenge:
    """The ``challenge`` argument of a txacme ``IResponder``: the few things responders use of acme's own class."""

    typ: str
    """``http-01``, ``dns-01``, ``tls-alpn-01``."""
    token: str

    def encode(self, name: str) -> str:
        """The field as the CA wrote it; only ``token`` exists. Raises KeyError for others."""
        if name != "token":
            raise KeyError(name)
        return self.token

    def validation_domain_name(self, name: str) -> str:
        """Where a DNS-01 TXT record belongs (RFC 8555 section 8.4); apex and wildcard share it."""
        return f"_acme-challenge.{name.removeprefix('*.')}"


@frozen
class ChallengeResponse:
    """The ``response`` argument of a txacme ``IResponder``."""

    key_authorization: str = field(repr=False)


@implementer(IResponder)
class PendingChallenges:
    """The HTTP-01 challenges being presented now; one object, filled by issuance and read by the HTTP listeners.

    Two orders may share an authorization, hence a token, so each is counted: it stays until the last has stopped.
    """

    challenge_type = "http-01"

    __slots__ = ("_answers", "_holders")

    def __init__(self) -> None:
        self._answers: dict[bytes, bytes] = {}
        self._holders: dict[bytes, int] = {}

    def start_responding(
        self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse
    ) -> Deferred[None]:
        """Answer this token from now on. Raises AcmeError for a token that is not base64url."""
        path = _path(challenge)
        self._answers[path] = response.key_authorization.encode("ascii")
        self._holders[path] = self._holders.get(path, 0) + 1
        return succeed(None)

    def stop_responding(
        self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse
    ) -> Deferred[None]:
        """Forget this token, unless another order still presents it. Harmless for one never started."""
        path = _path(challenge)
        holders = self._holders.pop(path, 0) - 1
        if holders > 0:
            self._holders[path] = holders
        else:
            self._answers.pop(path, None)
        return succeed(None)

    def answer(self, path: bytes) -> bytes | None:
        """The key authorization for exactly ``/.well-known/acme-challenge/TOKEN``, nothing decoded; or None."""
        return self._answers.get(path)

    def __len__(self) -> int:
        """How many tokens are being presented."""
        return len(self._answers)


def _path(challenge: PresentedChallenge) -> bytes:
    token = challenge.encode("token")
    if not TOKEN.match(token):
        raise AcmeError("a challenge's token is not base64url, so it is not presented")
    return (WELL_KNOWN + token).encode("ascii")
