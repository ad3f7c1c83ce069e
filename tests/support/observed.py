"""Requests that have ended, as those who count them and write them down are given them."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from appliance.http.message import RequestHead
from appliance.ops.observer import RequestObserver


@frozen
class Ended:
    """One request."""

    site: str = "a.example"
    method: bytes = b"GET"
    status: int = 200
    seconds: float = 0.3
    upstream: str = "http://a:1"
    fault: str = ""
    answered: float = 0.0
    """Seconds until its response began; 0, if that was with its end or not at all."""
    bytes_in: int = 3
    bytes_out: int = 5

    def request(self) -> RequestHead:
        """It began at 1."""
        made = RequestHead(self.method, b"/", 1)
        made.site, made.status, made.upstream, made.fault = self.site, self.status, self.upstream, self.fault
        made.started, made.ended = 1.0, 1.0 + self.seconds
        made.sent = 1.0 if self.upstream else 0.0
        made.answered = 1.0 + self.answered if self.answered else 0.0
        made.bytes_in, made.bytes_out = self.bytes_in, self.bytes_out
        return made


def observed(requests: Iterable[Ended]) -> list[RequestHead]:
    """These in one batch."""
    return [each.request() for each in requests]


def keeping(kept: list[RequestHead]) -> RequestObserver:
    """An observer that puts them there as they end."""
    return RequestObserver(kept.extend, batch=1)
