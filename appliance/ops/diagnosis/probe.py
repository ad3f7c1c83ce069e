"""Challenges presented for the doctor's sake: a token as a CA would hand it out, answered for a minute."""

from __future__ import annotations

import secrets

from twisted.internet.interfaces import IReactorTime
from txacme.interfaces import IResponder  # type: ignore[import-untyped]

from appliance.acme.challenges import WELL_KNOWN, ChallengeResponse, PresentedChallenge
from appliance.errors import ApplianceError
from appliance.ops.status.document import Document

LIFETIME = 60.0
"""Seconds a token is answered."""
AT_ONCE = 16


class Probes:
    """Presents tokens and forgets them by itself."""

    def __init__(self, clock: IReactorTime, http_01: IResponder) -> None:
        self._clock = clock
        self._http_01 = http_01
        self._presented = 0

    def present(self) -> Document:
        """A new one: the ``path`` to ask for and the ``answer`` that is given. Raises ApplianceError at too many."""
        if self._presented >= AT_ONCE:
            raise ApplianceError(f"{AT_ONCE} probes are being presented already; try again in a minute")
        challenge = PresentedChallenge("http-01", f"appliance-doctor-{secrets.token_urlsafe(16)}")
        response = ChallengeResponse(f"{challenge.token}.{secrets.token_urlsafe(16)}")
        self._http_01.start_responding("", challenge, response)
        self._presented += 1
        self._clock.callLater(LIFETIME, self._withdraw, challenge, response)
        return {"path": WELL_KNOWN + challenge.token, "answer": response.key_authorization, "seconds": LIFETIME}

    def _withdraw(self, challenge: PresentedChallenge, response: ChallengeResponse) -> None:
        self._presented -= 1
        self._http_01.stop_responding("", challenge, response)
