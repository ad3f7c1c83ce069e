"""A client that speaks to a demo CA in the same process, one signed request at a time."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from appliance.acme.jose import AccountKey, b64url
from appliance.ca.authority import Authority
from appliance.ca.core import Response
from appliance.ca.model import Identifier
from appliance.ca.policy import TEST_SUFFIXES, Policy
from appliance.ca.server import EmbeddedCa
from appliance.ca.validation import unproven

START = datetime(2027, 1, 1, tzinfo=UTC)
AUTHORITY = Authority.create(START, TEST_SUFFIXES)
JOSE = {"content-type": "application/jose+json"}


class Proofs:
    """A validator that knows which names are proven; ``asked`` tells what it was asked to prove."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.pending: list[Deferred[None]] | None = None
        self.asked: list[tuple[str, str, str]] = []

    def __call__(self, identifier: Identifier, token: str, key_authorization: str) -> Deferred[None]:
        self.asked.append((identifier.value, token, key_authorization))
        if self.pending is not None:
            self.pending.append(Deferred())
            return self.pending[-1]
        if identifier.value in self.failing:
            return fail(unproven("unauthorized", f"{identifier.value} was not proven"))
        return succeed(None)


@attrs.frozen
class Reply:
    """An answer, taken apart."""

    status: int
    headers: dict[str, list[str]]
    body: bytes

    @classmethod
    def of(cls, response: Response) -> Reply:
        headers: dict[str, list[str]] = {}
        for name, value in response.headers:
            headers.setdefault(name, []).append(value)
        return cls(response.status, headers, response.body)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def location(self) -> str:
        return self.headers["Location"][0]

    @property
    def code(self) -> str:
        """The problem's type without its prefix."""
        assert self.headers["Content-Type"] == ["application/problem+json"]
        assert self.json["status"] == self.status
        return str(self.json["type"]).removeprefix("urn:ietf:params:acme:error:")


class World:
    """A CA with its clock, and the account key of a client."""

    def __init__(self, policy: Policy | None = None, wildcards: bool = False) -> None:
        self.clock = Clock()
        self.proofs = Proofs()
        validators = {"http-01": self.proofs} | ({"dns-01": self.proofs} if wildcards else {})
        policy = policy or Policy()
        authority = AUTHORITY if policy.suffixes == TEST_SUFFIXES else None
        self.ca = EmbeddedCa(self.clock, self.now, validators, policy, authority, random=Random(7))
        self.key = AccountKey.generate()
        self.kid: str | None = None

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def change(self, **changes: Any) -> None:
        """Another policy from now on."""
        self.ca.policy = attrs.evolve(self.ca.policy, **changes)

    def send(self, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        return Reply.of(self.ca.handle(method, url, JOSE if headers is None else headers, body))

    def url(self, path: str) -> str:
        return f"{self.ca.base_url}/{path}"

    def nonce(self) -> str:
        return self.send("HEAD", "/new-nonce").headers["Replay-Nonce"][0]

    def post(self, to: str, payload: object | None = None, key: AccountKey | None = None, **header: Any) -> Reply:
        """Sign and send; by the account once there is one, unless a key is given."""
        kid = header.pop("kid", self.kid if key is None else None)
        body = (key or self.key).sign(payload, url=header.pop("url", to), nonce=self.nonce(), kid=kid)
        return self.send("POST", to, body)

    def register(self, **fields: Any) -> Reply:
        reply = self.post(self.url("new-account"), {"termsOfServiceAgreed": True} | fields, self.key)
        if reply.status in (200, 201):
            self.kid = reply.location
        return reply

    def order(self, *names: str, **fields: Any) -> Reply:
        if self.kid is None:
            assert self.register().status == 201
        identifiers = [{"type": "ip" if name[0].isdigit() or ":" in name else "dns", "value": name} for name in names]
        return self.post(self.url("new-order"), {"identifiers": identifiers} | fields)

    def prove(self, order: Reply) -> Reply:
        """Ask for every authorization's first challenge, then for the order."""
        for url in order.json["authorizations"]:
            authorization = self.post(url).json
            if authorization["status"] == "pending":
                self.post(authorization["challenges"][-1]["url"], {})
        return self.post(order.location)

    def finalize(self, order: Reply, csr: bytes | None = None) -> Reply:
        names = [each["value"] for each in order.json["identifiers"]]
        return self.post(order.json["finalize"], {"csr": b64url(make_csr(*names) if csr is None else csr)})

    def issue(self, *names: str, **fields: Any) -> x509.Certificate:
        """All of it; the leaf."""
        order = self.finalize(self.prove(self.order(*names, **fields)))
        assert order.json["status"] == "valid", order.json
        return x509.load_pem_x509_certificates(self.post(order.json["certificate"]).body)[0]


def make_csr(*names: str, key: Any = None, common_name: str | None = None) -> bytes:
    """DER, for these names."""
    subject = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder(subject_name=x509.Name(subject))
    if names:
        general = [general_name(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
