"""The commands' end: asks the running service over its socket, without a reactor."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError
from appliance.ops.control import unixsocket

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes: some ten thousand sites."""
QUICK = 10.0
"""Seconds for what the service answers from memory."""


class NotRunningError(ApplianceError):
    """No appliance listens there."""


class CommandFailedError(ApplianceError):
    """The service said no, or nothing that makes sense; ``status`` is HTTP's, 0 where there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


def ask(state_dir: Path, command: str, timeout: float = QUICK) -> dict[str, Any]:
    """What ``GET /v1/COMMAND`` answers. Raises NotRunningError, CommandFailedError."""
    return _exchange(state_dir, "GET", command, None, timeout)


def act(state_dir: Path, command: str, timeout: float = QUICK, /, **arguments: object) -> dict[str, Any]:
    """What ``POST /v1/COMMAND`` answers. ``timeout`` in seconds. Raises NotRunningError, CommandFailedError."""
    return _exchange(state_dir, "POST", command, arguments, timeout)


def runs(state_dir: Path) -> bool:
    """Whether an appliance listens there that can be asked."""
    try:
        unixsocket.connect(state_dir, QUICK).close()
    except OSError:
        return False
    return True


class _UnixConnection(HTTPConnection):
    def __init__(self, state_dir: Path, timeout: float) -> None:
        super().__init__("appliance", timeout=timeout)
        self._state_dir = state_dir
        self._patience = timeout

    def connect(self) -> None:
        """See HTTPConnection."""
        self.sock = unixsocket.connect(self._state_dir, self._patience)


def _exchange(
    state_dir: Path, method: str, command: str, arguments: Mapping[str, object] | None, timeout: float
) -> dict[str, Any]:
    connection = _UnixConnection(state_dir, timeout)
    body = None if arguments is None else json.dumps(arguments)
    try:
        try:
            connection.connect()
        except OSError as error:
            raise _not_running(state_dir, error) from error
        connection.request(method, f"/v1/{command}", body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        content = response.read(MAX_ANSWER + 1)
    except TimeoutError as error:
        raise CommandFailedError(
            f"the appliance with state_dir {state_dir} did not answer within {timeout:g} s"
        ) from error
    except (HTTPException, OSError) as error:
        raise CommandFailedError(
            f"the appliance with state_dir {state_dir} closed the connection before it answered ({error!r});"
            " see its log"
        ) from error
    finally:
        connection.close()
    return _judge(response.status, content)


def _judge(status: int, content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content) if len(content) <= MAX_ANSWER else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise CommandFailedError(f"the appliance answered {status} and nothing that makes sense here", status)
    if status != 200:
        raise CommandFailedError(str(answer.get("error", f"the appliance answered {status}")), status)
    return answer


def _not_running(state_dir: Path, error: OSError) -> ApplianceError:
    path = state_dir / unixsocket.NAME
    if isinstance(error, PermissionError):
        return CommandFailedError(
            f"no permission to reach {path}: run this as root or as the user the service runs as, for instance by sudo"
        )
    if isinstance(error, socket.timeout) or error.errno == errno.EAGAIN:
        return CommandFailedError(f"the appliance with state_dir {state_dir} is too busy to answer; try again")
    return NotRunningError(
        f"no appliance is running with state_dir {state_dir} ({path}: {error.strerror or error});"
        " start it, or name its configuration with --config or its folder with --state-dir"
    )
