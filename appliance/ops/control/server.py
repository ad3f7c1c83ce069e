"""The service's end of the commands: HTTP/1.1 with JSON on a UNIX socket, so that ``curl`` can look at it too.

``curl --unix-socket STATE_DIR/control.sock http://appliance/v1/status``

``GET /v1/NAME`` asks, ``POST /v1/NAME`` with a JSON object acts. An answer is a JSON object; one that is not 200 has
an ``error`` in words: 400 for what makes no sense, 404 for a command that is not known, 409 for what cannot be done,
422 for mistakes in a configuration, which are its ``mistakes``, 500 for a fault of ours. An action goes on when whoever
asked for it goes away.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen
from twisted.application.service import Service
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from appliance.errors import ApplianceError, ConfigurationError, StoreError
from appliance.ops.boundedrequest import MAX_BODY, BoundedRequest
from appliance.ops.control import unixsocket
from appliance.ops.control.unixsocket import ListeningSocket

VERSION = "v1"
MANY = 50
"""So many sites are more than a person reads."""
MAX_CONNECTIONS = 32
IDLE_TIMEOUT = 60

_log = Logger()

Arguments = Mapping[str, Any]


class BadRequestError(ApplianceError):
    """Arguments that make no sense; answered with 400."""


@frozen
class Command:
    """What one name does: called with the arguments, it returns what is to be sent as JSON, or an awaitable of it."""

    call: Callable[[Arguments], Awaitable[Mapping[str, Any]] | Mapping[str, Any]]
    acts: bool = field(default=True, kw_only=True)
    """Whether it changes anything: those are POSTed."""


class ControlService(Service):
    """Listens while it runs. Where it cannot, that is logged, and everything else goes on without."""

    def __init__(self, reactor: Any, state_dir: Path, commands: Mapping[str, Command]) -> None:
        """``reactor`` provides IReactorSocket and IReactorTime."""
        self._reactor = reactor
        self._state_dir = state_dir
        timing: Any = {"timeout": IDLE_TIMEOUT, "reactor": reactor}
        site: Any = Site(_Commands(commands), requestFactory=BoundedRequest, **timing)
        site.displayTracebacks = False
        site.noisy = False
        self._connections: Any = _Connections(site)  # type: ignore[no-untyped-call]
        self._socket: ListeningSocket | None = None
        self._port: Any = None

    def startService(self) -> None:
        """Listen."""
        super().startService()  # type: ignore[no-untyped-call]
        self._listen()

    def take_back(self) -> None:
        """Be found again, where the name is that of a process which has ended since."""
        if self._socket is None or not self._socket.found():
            self.leave()
            self._listen()

    def _listen(self) -> None:
        try:
            self._socket = unixsocket.listen(self._state_dir)
            with self._socket.socket as listening:
                # Twisted lets everybody in by chmod, hence before it is to be found.
                adopt: Any = _Port._fromListeningDescriptor
                self._port = adopt(self._reactor, listening.fileno(), self._connections)
                self._port.startListening()
            self._socket.publish()
        except StoreError as error:
            _log.error("{error}", error=error)

    def leave(self) -> Deferred[None]:
        """Close the socket, whose name another process may have by now; what was asked is still answered."""
        listening, self._socket = self._socket, None
        port, self._port = self._port, None
        if listening is not None:
            listening.remove()
        return succeed(None) if port is None else Deferred.fromCoroutine(_closed(port))

    def stopService(self) -> Deferred[None]:
        """Close the socket and every connection."""
        super().stopService()  # type: ignore[no-untyped-call]
        for connection in list(self._connections.protocols):
            connection.transport.abortConnection()
        return self.leave()


async def _closed(port: Any) -> None:
    await maybeDeferred(port.stopListening)


class _Connections(WrappingFactory):
    """Knows the open connections, so that the service can close them, and takes only so many."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper | None:  # type: ignore[override]
        """See IProtocolFactory."""
        return super().buildProtocol(addr) if len(self.protocols) < MAX_CONNECTIONS else None


class _Port(unix.Port):
    """Leaves its name alone at the end, which may be a newer process's by then."""

    def connectionLost(self, reason: Failure) -> None:
        """See IReadDescriptor."""
        tcp.Port.connectionLost(self, reason)


class _Commands(Resource):
    """Every path."""

    isLeaf = True

    def __init__(self, commands: Mapping[str, Command]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._commands = commands

    def render(self, request: Request) -> int:
        """Any method; the wrong ones are refused."""
        gone: list[object] = []
        request.notifyFinish().addErrback(lambda failure: gone.append(failure.trap(ConnectionLost, Exception)))
        answering = Deferred.fromCoroutine(self._answer(request))
        answering.addCallback(lambda answer: None if gone else _send(request, *answer))
        answering.addErrback(lambda failure: _log.failure("an answer to a command could not be sent", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> tuple[int, Mapping[str, Any]]:
        path = request.path.decode("latin-1")[:200]
        try:
            command = self._find(path)
            if command is None:
                known = ", ".join(sorted(self._commands))
                return 404, {"error": f"{path} is not known to this version of the service; {VERSION} has {known}"}
            method = b"POST" if command.acts else b"GET"
            if request.method != method:
                return 400, {"error": f"{path} is asked for by {method.decode()}"}
            result = command.call(_arguments(request) if command.acts else {})
            return 200, result if isinstance(result, Mapping) else await result
        except BadRequestError as error:
            return 400, {"error": str(error)}
        except ConfigurationError as error:
            return 422, _mistakes(error)
        except ApplianceError as error:
            return 409, {"error": str(error)}
        except Exception as error:
            _log.failure("unexpected error in the command {path}", path=path)
            return 500, {"error": f"unexpected error in the service: {type(error).__name__}: {error}; its log has more"}

    def _find(self, path: str) -> Command | None:
        _, version, name = path.split("/", 2) if path.count("/") > 1 else ("", "", "")
        return self._commands.get(name) if version == VERSION else None


def _arguments(request: Request) -> Arguments:
    assert request.content is not None
    content = request.content.read(MAX_BODY + 1)
    if len(content) > MAX_BODY:
        raise BadRequestError(f"the arguments are larger than {MAX_BODY} bytes")
    try:
        arguments = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the arguments are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise BadRequestError("the arguments must be a JSON object")
    return arguments


def text(arguments: Arguments, name: str, default: str | None = None) -> str:
    """An argument that must be text. Raises BadRequestError."""
    value = arguments.get(name, default)
    if not isinstance(value, str):
        raise BadRequestError(f"the argument {name} must be text")
    return value


def flag(arguments: Arguments, name: str) -> bool:
    """An argument that must be true or false; false where it is left out. Raises BadRequestError."""
    value = arguments.get(name, False)
    if not isinstance(value, bool):
        raise BadRequestError(f"the argument {name} must be true or false")
    return value


def _mistakes(error: ConfigurationError) -> Mapping[str, Any]:
    return {"error": str(error), "mistakes": [asdict(mistake) for mistake in error.mistakes]}


def _send(request: Request, status: int, answer: Mapping[str, Any]) -> None:
    # Laid out for people, which takes json ten times as long, where it is not about thousands of sites.
    content = json.dumps(answer, indent=None if len(answer.get("sites", ())) > MANY else 1).encode() + b"\n"
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", str(len(content)).encode())
    request.write(content)
    request.finish()
