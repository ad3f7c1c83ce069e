"""The ACME transport: nonces, time-outs, bounds, and trouble in plain words."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from OpenSSL import SSL
from twisted.internet import error as net
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseDone, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from appliance.acme.client import (
    DIRECTORY_AGE,
    MAX_ANSWER,
    MAX_NONCES,
    NONCE_ATTEMPTS,
    REQUEST_TIMEOUT,
    AcmeClient,
    Answer,
)
from appliance.acme.jose import AccountKey
from appliance.errors import AcmeConnectionError, AcmeProblemError, AcmeProtocolError
from tests.support.scriptedca import BASE, DIRECTORY, Asked, FakeResponse, FakeTransport, Reply, ScriptedCa, problem

T = TypeVar("T")
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
KEY = AccountKey.generate()


def result_of(coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
    """What it returned or raised; it must not be waiting."""
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    assert outcome, "still waiting"
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    value: T = outcome[0]
    return value


class Conversation:
    """A client and the CA it talks to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ca = ScriptedCa()
        self.client = AcmeClient(self.clock, self.ca, self.ca.directory_url, lambda: NOW)

    def post(self, path: str = "/thing", payload: object = None) -> Answer:
        """One signed request."""
        return result_of(self.client.post(BASE + path, payload, key=KEY, kid="kid", step="do a thing"))

    def posting(self) -> tuple[Deferred[Answer], list[Any]]:
        """A request that is still waiting, and where its outcome will be."""
        outcome: list[Any] = []
        waiting = Deferred.fromCoroutine(self.client.post(f"{BASE}/thing", None, key=KEY, step="do a thing"))
        waiting.addBoth(outcome.append)
        return waiting, outcome


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


def test_a_signed_post(talk: Conversation) -> None:
    """The directory, a nonce, then the request with the headers RFC 8555 section 6.1 and 6.2 want."""
    talk.ca.on("/thing", Reply({"a": 1}, 201, {"Location": f"{BASE}/thing/1", "Retry-After": "7"}))
    answer = talk.post(payload={"b": 2})
    assert [asked.method for asked in talk.ca.asked] == ["GET", "HEAD", "POST"]
    asked = talk.ca.asked[-1]
    assert asked.headers.getRawHeaders("content-type") == ["application/jose+json"]
    assert asked.headers.getRawHeaders("user-agent", [""])[0].startswith("appliance")
    assert asked.protected == {"alg": "ES256", "kid": "kid", "nonce": "nonce-1", "url": f"{BASE}/thing"}
    assert asked.payload == {"b": 2}
    assert (answer.status, answer.location, answer.retry_after) == (201, f"{BASE}/thing/1", 7.0)
    assert answer.json() == {"a": 1}


def test_nonces_are_used_once_and_kept(talk: Conversation) -> None:
    """Every answer brings the next one; only the first has to be asked for."""
    talk.ca.on("/thing", Reply())
    for _ in range(5):
        talk.post()
    assert len(talk.ca.requests("/nonce")) == 1
    used = [asked.protected["nonce"] for asked in talk.ca.requests("/thing") if asked.protected]
    assert used == [f"nonce-{number}" for number in range(1, 6)]


def test_nonces_are_bounded(talk: Conversation) -> None:
    """A CA that sends them with everything does not fill the memory."""
    talk.ca.on("/directory", Reply(DIRECTORY))
    for _ in range(MAX_NONCES + 10):
        talk.clock.advance(DIRECTORY_AGE + 1)
        result_of(talk.client.directory())
    talk.ca.on("/thing", Reply(nonce=False))
    for _ in range(MAX_NONCES):
        talk.post()
    assert not talk.ca.requests("/nonce")
    talk.post()
    assert len(talk.ca.requests("/nonce")) == 1


def test_bad_nonces_are_replaced(talk: Conversation) -> None:
    """Each refusal brings a fresh nonce, which is used next."""
    talk.ca.on("/thing", *[problem("badNonce", status=400)] * 5, Reply(b"done"))
    assert talk.post().body == b"done"
    assert len(talk.ca.requests("/thing")) == 6
    assert len(talk.ca.requests("/nonce")) == 1


def test_a_refusal_without_a_nonce(talk: Conversation) -> None:
    """Then one is asked for; the old ones are not tried."""
    refused = Reply({"type": "urn:ietf:params:acme:error:badNonce", "detail": "old"}, 400, nonce=False)
    talk.ca.on("/thing", Reply(), refused, Reply(b"done"))
    talk.post()
    assert talk.post().body == b"done"


def test_endless_bad_nonces_end(talk: Conversation) -> None:
    """A bounded number of attempts, then plain words."""
    talk.ca.on("/thing", problem("badNonce", status=400))
    with pytest.raises(AcmeConnectionError, match=f"do a thing: .* refused {NONCE_ATTEMPTS} nonces in a row"):
        talk.post()
    assert len(talk.ca.requests("/thing")) == NONCE_ATTEMPTS


@pytest.mark.parametrize("nonce", ["", "a b", "é", "x" * 1025])
def test_odd_nonces_are_not_taken(talk: Conversation, nonce: str) -> None:
    """A CA whose nonces are not base64url gives none (section 6.5.1)."""
    talk.ca.on("/nonce", Reply(headers={"Replay-Nonce": nonce}, nonce=False))
    with pytest.raises(AcmeProtocolError, match="the CA gives no nonces"):
        talk.post()


def test_directory_is_believed_for_an_hour(talk: Conversation) -> None:
    """Asked once, and again when old."""
    for _ in range(3):
        result_of(talk.client.directory())
    assert len(talk.ca.asked) == 1
    talk.clock.advance(DIRECTORY_AGE + 1)
    result_of(talk.client.directory())
    assert len(talk.ca.asked) == 2


def test_a_refusal(talk: Conversation) -> None:
    """The step, the code, the CA's words; Retry-After to the second, as seconds or as a date."""
    talk.ca.on("/thing", problem("rateLimited", "too many", 429, headers={"Retry-After": "3601"}))
    with pytest.raises(AcmeProblemError, match="do a thing: the CA answered rateLimited: too many") as caught:
        talk.post()
    assert (caught.value.problem.status, caught.value.problem.retry_after) == (429, 3601.0)
    date = {"Retry-After": "Sun, 22 Nov 2026 12:01:00 GMT"}
    talk.ca.on("/thing", problem("rateLimited", "too many", 429, headers=date))
    with pytest.raises(AcmeProblemError) as caught:
        talk.post()
    assert caught.value.problem.retry_after == 60.0


@pytest.mark.parametrize(
    ("status", "words"),
    [(503, "503: Service Unavailable, without a problem"), (599, "599: an unknown status, without a problem")],
)
@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_refusal_without_a_problem_document(talk: Conversation, body: bytes, status: int, words: str) -> None:
    """What stands before the CA speaks HTML: the status is said, and Retry-After is kept."""
    talk.ca.on("/thing", Reply(body, status, {"Retry-After": "5"}))
    with pytest.raises(AcmeProblemError, match=words) as caught:
        talk.post()
    assert caught.value.problem.retry_after == 5.0


def test_redirects_are_not_followed(talk: Conversation) -> None:
    """A signed request belongs to its URL; the operator is told where the CA points."""
    talk.ca.on("/directory", Reply(status=301, headers={"Location": "https://elsewhere.test/dir"}))
    with pytest.raises(AcmeProtocolError, match=r"answered 301 and points to 'https://elsewhere\.test/dir'"):
        result_of(talk.client.directory())
    talk.ca.on("/directory", Reply(status=304))
    with pytest.raises(AcmeProtocolError, match="answered 304; put the CA's own address"):
        result_of(talk.client.directory())


def test_no_downgrade(talk: Conversation) -> None:
    """A CA spoken to over TLS does not get to send us elsewhere without."""
    with pytest.raises(AcmeProtocolError, match=r"over plain HTTP, at http://ca\.test/thing"):
        result_of(talk.client.post("http://ca.test/thing", None, key=KEY, step="do a thing"))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_not_json(talk: Conversation, body: bytes) -> None:
    """The URL is named."""
    talk.ca.on("/directory", Reply(body))
    with pytest.raises(AcmeProtocolError, match=r"https://ca\.test/directory did not answer JSON"):
        result_of(talk.client.directory())


def test_answers_are_bounded(talk: Conversation) -> None:
    """The largest is taken, one byte more is not."""
    talk.ca.on("/thing", Reply(b"x" * MAX_ANSWER))
    assert len(talk.post().body) == MAX_ANSWER
    talk.ca.on("/thing", Reply(b"x" * (MAX_ANSWER + 1)))
    with pytest.raises(AcmeProtocolError, match=rf"https://ca\.test/thing answered more than {MAX_ANSWER} bytes"):
        talk.post()


def test_alternate_chains(talk: Conversation) -> None:
    """Links that say ``alternate``, among others (section 7.4.2)."""
    talk.ca.on("/thing", Reply(headers={"Link": f'<{BASE}/cert/1>;rel="alternate"'}))
    assert talk.post().alternates == (f"{BASE}/cert/1",)
    talk.ca.on("/thing", Reply(headers={"Link": f'<{BASE}/directory>;rel="index"'}))
    assert talk.post().alternates == ()


def test_silence_ends(talk: Conversation) -> None:
    """A CA that accepts and never answers is given up, and its request cancelled."""
    cancelled: list[object] = []
    talk.ca.on("/directory", Deferred(cancelled.append))
    _, outcome = talk.posting()
    talk.clock.advance(REQUEST_TIMEOUT - 1)
    assert not outcome
    talk.clock.advance(2)
    assert isinstance(outcome[0].value, AcmeConnectionError)
    assert "https://ca.test/directory did not answer within 30 s" in str(outcome[0].value)
    assert cancelled
    assert not talk.clock.getDelayedCalls()


class Dripping(FakeResponse):
    """Headers, some of the body, and then nothing more."""

    def deliverBody(self, protocol: Any) -> None:
        self.transport, self.protocol = FakeTransport(), protocol
        protocol.makeConnection(self.transport)
        protocol.dataReceived(b"{")


def dripping(talk: Conversation) -> tuple[Dripping, Deferred[Answer], list[Any]]:
    """A conversation stuck in the middle of the directory."""
    response = Dripping(200, Headers(), b"")
    talk.ca.on("/directory", Deferred())
    pending = talk.ca.replies["/directory"][0]
    assert isinstance(pending, Deferred)
    waiting, outcome = talk.posting()
    pending.callback(response)
    return response, waiting, outcome


def test_half_an_answer_ends(talk: Conversation) -> None:
    """The time-out holds for the body too; the connection is aborted, not closed politely."""
    response, _, outcome = dripping(talk)
    talk.clock.advance(REQUEST_TIMEOUT + 1)
    assert isinstance(outcome[0].value, AcmeConnectionError)
    assert response.transport.aborted == 1


def test_cancelled_in_the_body(talk: Conversation) -> None:
    """Cancelling aborts the connection and stays a cancellation; nothing is left on the clock."""
    response, waiting, outcome = dripping(talk)
    waiting.cancel()
    assert outcome[0].check(CancelledError)
    assert response.transport.aborted == 1
    assert not talk.clock.getDelayedCalls()
    response.protocol.dataReceived(b"late")
    response.protocol.connectionLost(Failure(net.ConnectionLost()))


def test_body_cut_short(talk: Conversation) -> None:
    """Half an answer is none."""
    response, _, outcome = dripping(talk)
    response.protocol.connectionLost(Failure(net.ConnectionLost()))
    assert "it closed the connection before its answer was complete" in str(outcome[0].value)


@pytest.mark.parametrize("end", [ResponseDone, PotentialDataLoss])
def test_bodies_end(talk: Conversation, end: Callable[[], Exception]) -> None:
    """By their length, or, without one, by the connection's end."""
    response, _, outcome = dripping(talk)
    response.protocol.dataReceived(b"}")
    response.protocol.connectionLost(Failure(end()))
    assert "directory has no usable URL" in str(outcome[0].value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (net.DNSLookupError("no results"), "its name cannot be resolved; look at this machine's DNS"),
        (net.ConnectionRefusedError(), "nothing listens there"),
        (net.TimeoutError(), "connecting took too long"),
        (net.NoRouteError(), "no connection could be made"),
        (
            SSL.Error([("SSL routines", "", "certificate verify failed")]),
            "must hold the root .*certificate verify failed",
        ),
        (SSL.Error(), r"TLS failed; .*\(Error\)"),
        (ResponseNeverReceived([Failure(net.ConnectionDone())]), "before its answer was complete"),
        (
            ResponseNeverReceived([Failure(SSL.Error([("a", "b", "certificate has expired")]))]),
            "TLS failed.*certificate has expired",
        ),
    ],
)
def test_connection_trouble_in_words(talk: Conversation, error: Exception, words: str) -> None:
    """However deep Twisted wraps it, with the step and the URL."""
    talk.ca.on("/directory", error)
    with pytest.raises(AcmeConnectionError, match=rf"directory: https://ca\.test/directory: .*{words}"):
        result_of(talk.client.directory())


def test_a_kept_connection_that_the_ca_closed(talk: Conversation) -> None:
    """The same bytes are sent once more, on a new one."""
    for error in (
        ResponseNeverReceived([Failure(net.ConnectionLost())]),
        RequestTransmissionFailed([Failure(net.ConnectionDone())]),
    ):
        talk.ca.on("/thing", error, Reply(b"done"))
        assert talk.post().body == b"done"
        first, second = talk.ca.requests("/thing")[-2:]
        assert first.protected == second.protected


def test_not_http(talk: Conversation) -> None:
    """What is no answer at all is the CA's fault."""
    talk.ca.on("/directory", ResponseNeverReceived([Failure(ValueError("wrong number of parts"))]))
    with pytest.raises(AcmeProtocolError, match=r"what it answered is not HTTP .*wrong number of parts"):
        result_of(talk.client.directory())


def test_a_wrapped_cancellation_stays_one(talk: Conversation) -> None:
    """Twisted's client wraps what it was cancelled with; a service that stops must not report a broken CA."""
    talk.ca.on("/directory", ResponseNeverReceived([Failure(CancelledError())]))
    with pytest.raises(CancelledError):
        result_of(talk.client.directory())


def test_a_function_may_answer(talk: Conversation) -> None:
    """POST-as-GET has an empty payload."""
    asked: list[Asked] = []

    def answer(request: Asked) -> Reply:
        asked.append(request)
        return Reply(b"ok")

    talk.ca.on("/thing", answer)
    talk.post(payload=None)
    assert asked[0].payload is None
