"""The one error tree. ``str(error)`` is for the operator: the site or key, the step, what was seen, what to do."""

from __future__ import annotations

from attrs import field, frozen


class ApplianceError(Exception):
    """Everything the appliance raises on purpose. ``str()`` is one sentence or more for the operator."""


@frozen
class Mistake:
    """One thing wrong in a configuration: where it stands and what to do about it."""

    path: str
    """The key's path, as in ``site[1].route[0].upstream``; empty for the file as a whole."""
    message: str
    """What is wrong, and what would be right."""
    line: int | None = None
    """Line in the file, from 1; None where there is no file or no such line."""

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigurationError(ApplianceError):
    """A configuration that is not used, with every mistake in it."""

    def __init__(self, mistakes: tuple[Mistake, ...], source: str = "configuration") -> None:
        self.mistakes = mistakes
        self.source = source
        super().__init__("\n".join(f"{source}: {mistake}" for mistake in mistakes))


class RestartNeededError(ApplianceError):
    """A good configuration that cannot be had without a restart: names the keys."""

    def __init__(self, mistakes: tuple[Mistake, ...], source: str = "configuration") -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(f"{source}: {mistake}" for mistake in mistakes))


class CertificateError(ApplianceError):
    """A certificate that must not be served: says which names, and what is wrong with it."""


class ListenError(ApplianceError):
    """A listener that could not be opened: names the endpoint, the reason, what to do."""


class StoreError(ApplianceError):
    """State that could not be read or written: names the file and the step."""


class AcmeError(ApplianceError):
    """Issuance went wrong; the subclasses say where."""


class AcmeConnectionError(AcmeError):
    """The CA could not be reached, or did not answer in time."""


class AcmeProtocolError(AcmeError):
    """The CA answered something that RFC 8555 does not allow."""


@frozen
class Problem:
    """An RFC 7807 problem document, as ACME uses it (RFC 8555 section 6.7)."""

    type: str
    """The whole type, ``urn:ietf:params:acme:error:…``."""
    detail: str
    """The CA's own words."""
    status: int = 0
    """The HTTP status it came with; 0 if it came inside an authorization or order."""
    retry_after: float | None = None
    """Seconds from its receipt, when the CA named a time."""
    identifier: str | None = None
    """The name it is about, in a subproblem."""
    subproblems: tuple[Problem, ...] = field(default=())

    @property
    def code(self) -> str:
        """The last part of the type: ``rateLimited``, ``dns``, ``connection`` …"""
        return self.type.rpartition(":")[2]


class AcmeProblemError(AcmeError):
    """The CA refused a request, with its problem document."""

    def __init__(self, problem: Problem, step: str) -> None:
        self.problem = problem
        self.step = step
        super().__init__(f"{step}: the CA answered {problem.code}: {problem.detail}")


class OrderError(AcmeError):
    """An order ended without a certificate; ``failures`` holds the CA's problem for each name it could not validate."""

    def __init__(self, message: str, failures: dict[str, Problem] | None = None) -> None:
        self.failures = failures or {}
        super().__init__(message)


class ResponderError(AcmeError):
    """A challenge that could not be published or withdrawn: says by what means, and what was seen."""


class RequestError(ApplianceError):
    """A client's request that is refused; ``status`` is what it is answered with, the connection closes after it."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class UpstreamError(ApplianceError):
    """An upstream that failed; ``phase`` is one of connect, send, head, body; ``status`` what the client gets.

    ``reset`` is the code, if any, that an HTTP/2 client's stream ends with where no status can be told.
    """

    def __init__(self, phase: str, reason: str, status: int = 502, reset: int | None = None) -> None:
        self.phase = phase
        self.status = status
        self.reset = reset
        super().__init__(reason)


class RefusedError(UpstreamError):
    """Nobody listens at the upstream's address: it is not there, or about to go."""
