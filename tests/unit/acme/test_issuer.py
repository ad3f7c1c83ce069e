"""Issuance as a conversation with a CA that says what the test wants, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from josepy import b64
from twisted.internet import error as net
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface import implementer

from appliance.acme import keys
from appliance.acme.challenges import ChallengeResponse, PendingChallenges, PresentedChallenge
from appliance.acme.client import REQUEST_TIMEOUT
from appliance.acme.issuance import RESPONDER_TIMEOUT, TOLERATED_FAILURES, VALIDATION_TIMEOUT
from appliance.acme.issuer import Issuer
from appliance.acme.request import CertificateRequest, Unfinished
from appliance.config import Acme
from appliance.errors import AcmeConnectionError, AcmeProblemError, AcmeProtocolError, OrderError
from appliance.tls.certificate import Certificate
from tests.support.certificates import shared_authority
from tests.support.scriptedca import BASE, Asked, Reply, Scripted, ScriptedCa, problem

T = TypeVar("T")
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
REGISTERED = Reply({"status": "valid"}, 201, {"Location": f"{BASE}/account/1"})


def at_once(function: Callable[[], T], /) -> Deferred[T]:
    """Disk work without a thread."""
    return maybeDeferred(function)


def order(status: str, names: Sequence[str] = ("a.test",), http_status: int = 200, **fields: Any) -> Reply:
    """An order with one authorization for each name, and where it is."""
    headers = {"Location": f"{BASE}/order/1", **fields.pop("headers", {})}
    body = {
        "status": status,
        "identifiers": [{"type": "dns", "value": name} for name in names],
        "authorizations": [f"{BASE}/authz/{name}" for name in names],
        "finalize": f"{BASE}/finalize",
        **({"certificate": f"{BASE}/cert"} if status == "valid" else {}),
        **fields,
    }
    return Reply(body, http_status, headers)


def challenge(name: str, kind: str = "http-01", **fields: Any) -> dict[str, Any]:
    """A challenge of that kind, pending."""
    return {"type": kind, "url": f"{BASE}/challenge/{kind}/{name}", "status": "pending", "token": "tok", **fields}


def authorization(status: str = "pending", name: str = "a.test", *challenges: Any, **fields: Any) -> Reply:
    """An authorization, by default with HTTP-01 and a token that is the name's first letter."""
    headers = fields.pop("headers", {})
    body = {
        "status": status,
        "identifier": {"type": "dns", "value": name.removeprefix("*.")},
        "challenges": challenges or [challenge(name, token=name.lstrip("*.")[0])],
        **({"wildcard": True} if name.startswith("*.") else {}),
        **fields,
    }
    return Reply(body, 200, headers)


def refused(name: str, code: str = "connection", detail: str = "connection refused") -> Reply:
    """An authorization that the CA has found wanting."""
    error = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail}
    return authorization("invalid", name, challenge(name, status="invalid", error=error))


def certificate_for(request: bytes) -> bytes:
    """What a CA makes of a CSR."""
    csr = x509.load_der_x509_csr(request)
    authority = shared_authority()
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    builder = x509.CertificateBuilder().subject_name(csr.subject).issuer_name(authority.certificate.subject)
    builder = builder.public_key(csr.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2026, 11, 1)).not_valid_after(datetime(2027, 1, 1))
    leaf = builder.add_extension(names, critical=False).sign(authority.key, SHA256())
    return leaf.public_bytes(Encoding.PEM) + authority.pem


@implementer(IResponder)
@define
class Recorder:
    """A responder that says what it was asked, and does what the test wants."""

    challenge_type: str = "dns-01"
    calls: list[tuple[str, str, str]] = field(factory=list)
    start: Callable[[str], Any] = lambda name: None
    stop: Callable[[str], Any] = lambda name: None

    def start_responding(self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse) -> Any:
        self.calls.append(("start", server_name, challenge.validation_domain_name(server_name)))
        return self.start(server_name)

    def stop_responding(self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse) -> Any:
        self.calls.append(("stop", server_name, challenge.validation_domain_name(server_name)))
        return self.stop(server_name)


class Scene:
    """An issuer, its CA, the challenges it presents."""

    def __init__(self, state_dir: Path) -> None:
        self.clock = Clock()
        self.ca = ScriptedCa()
        self.pending = PendingChallenges()
        self.state_dir = state_dir
        self.ca.on("/account", REGISTERED)
        self.ca.on("/order", order("pending", http_status=201))
        self.ca.on("/order/1", order("ready"))
        self.ca.on("/authz/a.test", authorization(), authorization("valid"))
        self.ca.on("/challenge/http-01/a.test", Reply(challenge("a.test")))
        self.ca.on("/finalize", order("valid"))
        self.ca.on("/cert", self.download)
        self.issuer = self.new_issuer([self.pending])

    def new_issuer(self, responders: Sequence[Any]) -> Issuer:
        acme = Acme(directory=self.ca.directory_url, agree_tos=True)
        return Issuer(self.clock, self.ca, acme, self.state_dir, responders, now=lambda: NOW, defer=at_once)

    def download(self, asked: Asked) -> Reply:
        """The certificate for the request that was last sent."""
        return Reply(certificate_for(b64.b64decode(self.ca.requests("/finalize")[-1].payload["csr"])))

    def issue(self, *names: str) -> tuple[Deferred[Certificate], list[Any]]:
        """Begin; the outcome will be in the list."""
        outcome: list[Any] = []
        issuing = Deferred.fromCoroutine(self.issuer.issue(names or ("a.test",)))
        issuing.addBoth(outcome.append)
        return issuing, outcome

    def pump(self, seconds: float = 5.0) -> None:
        """Let time pass in small steps."""
        self.clock.pump([0.25] * round(seconds * 4))

    def issued(self, *names: str) -> Certificate:
        """A whole issuance that must succeed."""
        _, outcome = self.issue(*names)
        self.pump()
        assert isinstance(outcome[0], Certificate), outcome
        return outcome[0]

    def failed(self, kind: type[T], *names: str, seconds: float = 5.0) -> T:
        """A whole issuance that must fail so; nothing may be left presented or on the clock."""
        _, outcome = self.issue(*names)
        self.pump(seconds)
        assert isinstance(outcome[0].value, kind), outcome[0]
        assert len(self.pending) == 0
        assert not self.clock.getDelayedCalls()
        return outcome[0].value


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def logged() -> Any:
    """The events logged during a test."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
    yield events
    globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]


def test_one_name(scene: Scene) -> None:
    """The whole conversation, the certificate, and nothing left behind."""
    certificate = scene.issued()
    certificate.check(["a.test"], NOW)
    assert len(certificate.intermediates) == 1
    assert scene.ca.paths() == [
        "/account",
        "/order",
        "/authz/a.test",
        "/challenge/http-01/a.test",
        "/authz/a.test",
        "/order/1",
        "/finalize",
        "/cert",
    ]
    assert scene.ca.requests("/order")[0].payload == {"identifiers": [{"type": "dns", "value": "a.test"}]}
    assert scene.ca.requests("/challenge/http-01/a.test")[0].payload == {}
    assert len(scene.pending) == 0
    assert not scene.clock.getDelayedCalls()


def test_a_fresh_key_each_time(scene: Scene) -> None:
    """And the account only once."""
    first = scene.issued()
    scene.ca.on("/authz/a.test", authorization("valid"))
    second = scene.issued()
    assert first.key.private_numbers() != second.key.private_numbers()
    assert len(scene.ca.requests("/account")) == 1


def test_challenge_is_there_before_the_ca_is_told(scene: Scene) -> None:
    """And until the verdict."""
    seen: list[bytes | None] = []

    def look(reply: Reply) -> Callable[[Asked], Reply]:
        def answer(asked: Asked) -> Reply:
            seen.append(scene.pending.answer(b"/.well-known/acme-challenge/a"))
            return reply

        return answer

    scene.ca.on("/challenge/http-01/a.test", look(Reply(challenge("a.test"))))
    scene.ca.on("/authz/a.test", authorization(), look(authorization()), look(authorization("valid")))
    scene.issued()
    assert len(seen) == 3
    assert all(answer is not None and answer.startswith(b"a.") for answer in seen)


def test_what_is_proved_is_not_proved_again(scene: Scene) -> None:
    """An order that is ready at once, and a pending one whose authorizations are valid."""
    scene.ca.on("/order", order("ready", http_status=201))
    scene.issued()
    scene.ca.on("/order", order("pending", http_status=201))
    scene.ca.on("/authz/a.test", authorization("valid"))
    scene.issued()
    assert not scene.ca.requests("/challenge/http-01/a.test")


def test_a_check_under_way_is_not_asked_for_again(scene: Scene) -> None:
    """A CA that hands out a pending authorization twice may be checking it already."""
    scene.ca.on(
        "/authz/a.test",
        authorization("pending", "a.test", challenge("a.test", status="processing")),
        authorization("valid"),
    )
    scene.issued()
    assert not scene.ca.requests("/challenge/http-01/a.test")


def test_unordered_identifiers(scene: Scene) -> None:
    """CAs sort, lower-case and deduplicate; the request keeps our order."""
    names = ["b.test", "a.test"]
    scene.ca.on("/order", order("ready", ["a.test", "b.test"], 201))
    scene.ca.on("/finalize", order("valid", ["A.test", "b.test"]))
    assert scene.issued(*names).names == {"a.test", "b.test"}


def test_order_for_other_names_is_refused(scene: Scene) -> None:
    """Nothing is proved for names nobody asked for."""
    scene.ca.on("/order", order("pending", ["a.test", "evil.test"], 201))
    assert "for other names" in str(scene.failed(AcmeProtocolError))
    scene.ca.on("/order", order("pending", http_status=201))
    scene.ca.on("/authz/a.test", authorization("pending", "evil.test"))
    assert "the CA sent one for 'evil.test'" in str(scene.failed(AcmeProtocolError))


def test_retry_after_is_heeded(scene: Scene) -> None:
    """While a check runs, and while the certificate is made."""
    waiting = authorization(headers={"Retry-After": "7"})
    scene.ca.on("/authz/a.test", authorization(), waiting, authorization("valid"))
    scene.ca.on("/finalize", order("processing", headers={"Retry-After": "4"}))
    scene.ca.on("/order/1", order("ready"), order("valid"))
    _, outcome = scene.issue()
    scene.pump(7)
    assert len(scene.ca.requests("/authz/a.test")) == 2
    scene.pump(0.25)
    assert len(scene.ca.requests("/authz/a.test")) == 3
    assert len(scene.ca.requests("/order/1")) == 1
    scene.pump(3.75)
    assert not outcome
    scene.pump(0.25)
    assert isinstance(outcome[0], Certificate)


def test_every_failing_name_is_told(scene: Scene) -> None:
    """All verdicts are awaited, with all challenges in place, and then told together."""
    names = ["a.test", "b.test", "c.test"]
    scene.ca.on("/order", order("pending", names, 201))
    present: list[int] = []

    def late(asked: Asked) -> Reply:
        present.append(len(scene.pending))
        return refused("c.test", "dns", "no such name")

    scene.ca.on("/authz/a.test", authorization(), refused("a.test"))
    scene.ca.on("/authz/b.test", authorization("pending", "b.test"), authorization("valid", "b.test"))
    scene.ca.on("/authz/c.test", authorization("pending", "c.test"), authorization("pending", "c.test"), late)
    for name in names:
        scene.ca.on(f"/challenge/http-01/{name}", Reply(challenge(name)))
    error = scene.failed(OrderError, *names)
    assert {name: problem.code for name, problem in error.failures.items()} == {
        "a.test": "connection",
        "c.test": "dns",
    }
    assert "a.test: connection: connection refused. The CA could not connect" in str(error)
    assert "c.test: dns: no such name. The CA could not look c.test up" in str(error)
    assert present == [3]


def test_authorization_that_was_spoiled_before(scene: Scene) -> None:
    """No challenge is presented for an order that cannot succeed any more."""
    scene.ca.on("/authz/a.test", refused("a.test"))
    assert set(scene.failed(OrderError).failures) == {"a.test"}
    assert not scene.ca.requests("/challenge/http-01/a.test")


def test_no_challenge_that_we_can_answer(scene: Scene) -> None:
    """A wildcard without DNS-01."""
    scene.ca.on("/order", order("pending", ["*.a.test"], 201))
    scene.ca.on("/authz/*.a.test", authorization("pending", "*.a.test", challenge("a.test", "dns-01")))
    error = scene.failed(OrderError, "*.a.test")
    assert "*.a.test: unsupportedChallenge: the CA offers dns-01; set up here is http-01" in str(error)


def test_the_next_order_takes_the_next_kind(scene: Scene) -> None:
    """HTTP-01 has failed for a name, which spoils the order; the next one proves it by TLS-ALPN-01, and so on."""
    recorder = Recorder("tls-alpn-01")
    scene.issuer = scene.new_issuer([scene.pending, recorder])
    both = [challenge("a.test"), challenge("a.test", "tls-alpn-01")]
    scene.ca.on("/challenge/tls-alpn-01/a.test", Reply(both[1]))
    scene.ca.on("/authz/a.test", authorization("pending", "a.test", *both), refused("a.test"))
    assert set(scene.failed(OrderError).failures) == {"a.test"}
    assert recorder.calls == []
    for _ in range(2):
        scene.ca.on("/authz/a.test", authorization("pending", "a.test", *both), authorization("valid"))
        scene.issued("a.test")
    assert len(scene.ca.requests("/challenge/http-01/a.test")) == 1
    assert len(scene.ca.requests("/challenge/tls-alpn-01/a.test")) == 2


def test_order_refused(scene: Scene) -> None:
    """Names by name; anything else as the CA said it."""
    scene.ca.on("/order", problem("rejectedIdentifier", 'forbidden by policy: "a.test"', 400))
    assert set(scene.failed(OrderError).failures) == {"a.test"}
    scene.ca.on("/order", problem("rateLimited", "too many", 429, headers={"Retry-After": "60"}))
    assert scene.failed(AcmeProblemError).problem.retry_after == 60.0


def test_order_without_url(scene: Scene) -> None:
    """It could never be asked after."""
    nowhere = order("ready", http_status=201)
    scene.ca.on("/order", Reply(nowhere.body, 201))
    assert "did not say the order's URL" in str(scene.failed(AcmeProtocolError))


def test_order_turns_invalid(scene: Scene) -> None:
    """After it was finalized, with the CA's reason."""
    reason = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids"}
    scene.ca.on("/finalize", order("processing"))
    scene.ca.on("/order/1", order("ready"), order("invalid", error=reason))
    assert "a.test: caa: CAA forbids" in str(scene.failed(OrderError))


@pytest.mark.parametrize("failed", [("b.test",), ()])
def test_order_that_was_spoiled_before(scene: Scene, failed: tuple[str, ...]) -> None:
    """Gone on with, it is asked for the names that spoiled it; where none did, the CA's reason will have to do."""
    reason = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids"}
    names = ("a.test", "b.test")
    scene.ca.on("/order/1", order("invalid", names, error=reason))
    for name in names:
        scene.ca.on(f"/authz/{name}", refused(name) if name in failed else authorization("valid", name))
    key = keys.to_pem(keys.TYPES["p256"]()).decode()
    unfinished = Unfinished(scene.issuer.name, names, key, NOW, url=f"{BASE}/order/1")
    outcome: list[Any] = []
    Deferred.fromCoroutine(scene.issuer.obtain(CertificateRequest(names), unfinished)).addBoth(outcome.append)
    scene.pump()
    error = outcome[0].value
    assert isinstance(error, OrderError)
    assert tuple(error.failures) == failed
    words = "b.test: connection: connection refused. The CA could not connect" if failed else "a.test, b.test: caa: CAA"
    assert str(error).startswith(words)


def test_certificate_that_nobody_asked_for(scene: Scene) -> None:
    """An order that is valid before our request is not ours."""
    scene.ca.on("/order", order("valid", http_status=201))
    assert "order is valid although on our side it is only ordered" in str(scene.failed(AcmeProtocolError))


@pytest.mark.parametrize("body", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_broken_chain(scene: Scene, body: bytes) -> None:
    """A download that is no certificate."""
    scene.ca.on("/cert", Reply(body))
    assert "download the certificate for a.test: " in str(scene.failed(AcmeProtocolError))


def test_check_that_never_ends(scene: Scene) -> None:
    """Given up after its time, with the name."""
    scene.ca.on("/authz/a.test", authorization())
    error = scene.failed(OrderError, seconds=VALIDATION_TIMEOUT + 20)
    assert "a.test: timeout: the CA did not check it within 300 s" in str(error)
    assert len(scene.ca.requests("/authz/a.test")) < 50


def test_certificate_that_is_never_made(scene: Scene) -> None:
    """Likewise; polling has slowed down by then."""
    scene.ca.on("/finalize", order("processing"))
    scene.ca.on("/order/1", order("ready"), order("processing"))
    error = scene.failed(AcmeConnectionError, seconds=VALIDATION_TIMEOUT + 20)
    assert "order for a.test: the CA did not get on with it in 300 s" in str(error)
    assert len(scene.ca.requests("/order/1")) < 50


@pytest.mark.parametrize(
    "trouble",
    [
        net.ConnectionRefusedError(),
        Reply(b"<html>", 502),
        problem("serverInternal", "oops", 500),
        problem("rateLimited", "slowly", 429, headers={"Retry-After": "1"}),
    ],
)
def test_a_ca_that_stumbles(scene: Scene, trouble: Scripted) -> None:
    """A poll may fail for a while without the order being lost."""
    scene.ca.on("/authz/a.test", authorization(), *[trouble] * TOLERATED_FAILURES, authorization("valid"))
    _, outcome = scene.issue()
    scene.pump(30)
    assert isinstance(outcome[0], Certificate)


def test_a_ca_that_has_gone(scene: Scene) -> None:
    """But not for ever; and a refusal is final at once."""
    scene.ca.on("/authz/a.test", authorization(), net.ConnectionRefusedError())
    assert "nothing listens there" in str(scene.failed(AcmeConnectionError, seconds=60))
    scene.ca.on("/authz/a.test", authorization(), problem("unauthorized", "not yours"))
    scene.failed(AcmeProblemError, seconds=1)


def test_a_ca_that_never_answers(scene: Scene) -> None:
    """The registration ends by time-out."""
    scene.ca.on("/directory", Deferred())
    assert "did not answer within 30 s" in str(scene.failed(AcmeConnectionError, seconds=REQUEST_TIMEOUT + 1))


def test_account_that_the_ca_forgot(scene: Scene) -> None:
    """Registered again with the same key, and the order made again; once."""
    scene.issued()
    scene.ca.on("/order", problem("accountDoesNotExist", "who?", 400), order("ready", http_status=201))
    scene.issued()
    first, second = scene.ca.requests("/account")
    assert first.protected is not None
    assert second.protected is not None
    assert first.protected["jwk"] == second.protected["jwk"]
    scene.ca.on("/order", problem("accountDoesNotExist", "who?", 400))
    scene.failed(AcmeProblemError)
    assert len(scene.ca.requests("/account")) == 3


def test_forgotten_while_several_sites_order(scene: Scene) -> None:
    """They share the new registration."""
    scene.issued()
    answers: list[Deferred[Any]] = [Deferred(), Deferred()]
    scene.ca.on("/order", *answers, order("ready", http_status=201))
    outcomes = [scene.issue()[1] for _ in answers]
    forgotten = scene.ca._response(problem("accountDoesNotExist", "who?", 400))
    for answer in answers:
        answer.callback(forgotten)
    scene.pump()
    assert [type(outcome[0]) for outcome in outcomes] == [Certificate, Certificate]
    assert len(scene.ca.requests("/account")) == 2


def test_sites_that_start_together_register_once(scene: Scene) -> None:
    """All wait for the same registration."""
    answer: Deferred[Any] = Deferred()
    scene.ca.on("/account", answer)
    scene.ca.on("/order", order("ready", http_status=201))
    outcomes = [scene.issue()[1] for _ in range(5)]
    assert len(scene.ca.requests("/account")) == 1
    answer.callback(scene.ca._response(REGISTERED))
    scene.pump()
    assert [type(outcome[0]) for outcome in outcomes] == [Certificate] * 5


def test_a_failed_registration_is_shared_and_tried_again(scene: Scene) -> None:
    """Nobody waits for his own time-out after the others'; the next attempt starts afresh."""
    scene.ca.on("/account", Deferred(), REGISTERED)
    outcomes = [scene.issue()[1] for _ in range(5)]
    scene.pump(REQUEST_TIMEOUT + 1)
    assert [type(outcome[0].value) for outcome in outcomes] == [AcmeConnectionError] * 5
    scene.issued()


def test_one_who_leaves_does_not_take_the_registration_along(scene: Scene) -> None:
    """It is cancelled only with the last one."""
    cancelled: list[object] = []
    answer: Deferred[Any] = Deferred(cancelled.append)
    scene.ca.on("/account", answer)
    first, first_outcome = scene.issue()
    second, second_outcome = scene.issue()
    first.cancel()
    assert first_outcome[0].check(CancelledError)
    assert not cancelled
    second.cancel()
    assert second_outcome[0].check(CancelledError)
    assert cancelled
    assert not scene.clock.getDelayedCalls()


@pytest.mark.parametrize("seconds", [0.0, 0.25, 1.0])
def test_cancelled_while_the_ca_checks(scene: Scene, seconds: float) -> None:
    """The challenge is withdrawn, the polling ends, the cancellation comes out."""
    scene.ca.on("/authz/a.test", authorization())
    issuing, outcome = scene.issue()
    scene.pump(seconds)
    assert len(scene.pending) == 1
    issuing.cancel()
    assert outcome[0].check(CancelledError)
    assert len(scene.pending) == 0
    assert not scene.clock.getDelayedCalls()


def test_cancelled_while_the_order_is_asked_for(scene: Scene) -> None:
    """It is asked for to its end, and remembered with its URL: nobody is left to wonder whether the CA has it."""
    answer: Deferred[Any] = Deferred()
    scene.ca.on("/order", answer)
    remembered: list[Unfinished] = []

    async def remember(unfinished: Unfinished) -> None:
        remembered.append(unfinished)

    outcome: list[Any] = []
    obtaining = Deferred.fromCoroutine(scene.issuer.obtain(CertificateRequest(("a.test",)), None, remember))
    obtaining.addBoth(outcome.append)
    scene.pump(1)
    obtaining.cancel()
    assert (len(remembered), outcome) == (1, [])
    answer.callback(order("pending", http_status=201))
    scene.pump(1)
    assert outcome[0].check(CancelledError)
    assert [unfinished.url for unfinished in remembered] == [None, f"{BASE}/order/1"]
    assert not scene.ca.requests("/authz/a.test")


def dns_scene(scene: Scene, *names: str) -> Recorder:
    """Names that are proved by DNS-01."""
    recorder = Recorder()
    scene.issuer = scene.new_issuer([recorder, scene.pending])
    for reply, path in ((order("pending", names, 201), "/order"), (order("ready", names), "/order/1")):
        scene.ca.on(path, reply)
    scene.ca.on("/finalize", order("valid", names))
    for name in names:
        offered = authorization("pending", name, challenge(name, "dns-01"), challenge(name))
        scene.ca.on(f"/authz/{name}", offered, authorization("valid", name))
        scene.ca.on(f"/challenge/dns-01/{name}", Reply(challenge(name, "dns-01")))
    return recorder


def test_apex_and_wildcard(scene: Scene) -> None:
    """A third-party responder is preferred when it comes first; both values stay until both are settled."""
    recorder = dns_scene(scene, "a.test", "*.a.test")
    scene.issued("a.test", "*.a.test")
    assert recorder.calls == [
        ("start", "a.test", "_acme-challenge.a.test"),
        ("start", "a.test", "_acme-challenge.a.test"),
        ("stop", "a.test", "_acme-challenge.a.test"),
        ("stop", "a.test", "_acme-challenge.a.test"),
    ]


def test_the_ca_is_told_when_the_responder_is_ready(scene: Scene) -> None:
    """DNS takes its time to spread."""
    recorder = dns_scene(scene, "a.test")
    ready: Deferred[None] = Deferred()
    recorder.start = lambda name: ready
    _, outcome = scene.issue()
    scene.pump(60)
    assert not scene.ca.requests("/challenge/dns-01/a.test")
    ready.callback(None)
    scene.pump()
    assert isinstance(outcome[0], Certificate)


def failing(name: str) -> None:
    """A responder whose provider says no."""
    raise RuntimeError("no such zone")


def test_responder_that_cannot_start(scene: Scene, logged: list[LogEvent]) -> None:
    """The name, its words, and nobody is asked to check; the others are withdrawn."""
    recorder = dns_scene(scene, "a.test", "b.test")
    recorder.start = lambda name: failing(name) if name == "b.test" else None
    error = scene.failed(OrderError, "a.test", "b.test")
    assert "b.test: responder: no such zone. The challenge for b.test could not be published" in str(error)
    assert not scene.ca.requests("/challenge/dns-01/a.test")
    assert ("stop", "a.test", "_acme-challenge.a.test") in recorder.calls
    assert any("its responder failed" in str(event.get("log_format")) for event in logged)


def test_responder_that_hangs(scene: Scene, logged: list[LogEvent]) -> None:
    """Given up in its own time."""
    dns_scene(scene, "a.test").start = lambda name: Deferred()
    error = scene.failed(OrderError, seconds=RESPONDER_TIMEOUT + 1)
    assert "a.test: responder: " in str(error)


def test_responder_that_cannot_stop(scene: Scene, logged: list[LogEvent]) -> None:
    """The certificate counts; what is left behind is logged."""
    dns_scene(scene, "a.test").stop = failing
    scene.issued()
    assert any("was not withdrawn" in str(event.get("log_format")) for event in logged)


def test_cancelled_while_a_responder_starts(scene: Scene) -> None:
    """It is cancelled, and what it began is withdrawn."""
    recorder = dns_scene(scene, "a.test")
    cancelled: list[object] = []
    recorder.start = lambda name: Deferred(cancelled.append)
    issuing, outcome = scene.issue()
    issuing.cancel()
    assert cancelled
    assert outcome[0].check(CancelledError)
    assert recorder.calls[-1][0] == "stop"
    assert not scene.clock.getDelayedCalls()
