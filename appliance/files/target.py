"""Routes that lead to a folder."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import Logger

from appliance.config.files import Root
from appliance.errors import RequestError
from appliance.files.answer import Refusal, answer
from appliance.files.exchange import FileExchange, Source
from appliance.files.reading import Reading
from appliance.files.selection import Representation, Selection, Slash
from appliance.http import pages
from appliance.http.message import RequestHead
from appliance.http.serving import Client
from appliance.net.turn import Turn
from appliance.proxy.routing import RouteEntry
from appliance.store import Defer

_LOG_SECONDS = 1.0
_DENIED = frozenset({errno.EACCES, errno.EPERM})


class FileTargets:
    """Makes the targets of routes: what they have in common. ``later`` has something called after the others' turn."""

    def __init__(self, turn: Turn, defer: Defer, wall: Callable[[], float], seconds: Callable[[], float]) -> None:
        """``wall`` gives seconds since the epoch, ``seconds`` monotonic ones; ``defer`` runs something in a thread."""
        self.later = turn.at_end
        self._source = Reading(turn, defer)
        self._wall = wall
        self._seconds = seconds

    def target(self, site: str, path: str, root: Root) -> Files:
        """What answers a site's route for ``path``."""
        name = site if path == "/" else f"{site}{path}"
        selection = Selection(root.folder, path.encode("ascii"), root.fallback)
        return Files(name, selection, root.cache_control, self._source, self._wall, self._seconds)


class Files:
    """See target.Target: answers GET and HEAD from the files that ``selection`` finds."""

    log = Logger()

    def __init__(
        self,
        name: str,
        selection: Selection,
        cache_control: str | None,
        source: Source,
        wall: Callable[[], float],
        seconds: Callable[[], float],
    ) -> None:
        """``name`` is the route's for the log; ``wall`` gives seconds since the epoch, ``seconds`` monotonic ones."""
        self.name = name
        self._selection = selection
        self._cache_control = cache_control.encode("ascii") if cache_control is not None else None
        self._source = source
        self._wall = wall
        self._seconds = seconds
        self._logged_at = float("-inf")

    def begin(
        self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes
    ) -> FileExchange | None:
        """See Target."""
        if request.method not in (b"GET", b"HEAD"):
            connection.fail(405, fields=[(b"Allow", b"GET, HEAD")])
            return None
        try:
            return self._send(connection, request, self._selection.select(request))
        except RequestError as error:
            connection.fail(error.status)
        except Slash:
            path, mark, query = request.target.partition(b"?")
            connection.answer(pages.redirect(path + b"/" + mark + query))
        except OSError as error:
            self._report(error)
            connection.fail(403 if error.errno in _DENIED else 503)
        return None

    def _send(self, connection: Client, request: RequestHead, representation: Representation) -> FileExchange | None:
        descriptor = representation.file.descriptor
        boundary = secrets.token_hex(16).encode("ascii")
        try:
            head, pieces = answer(request, representation, self._cache_control, int(self._wall()), boundary)
        except Refusal as refusal:
            os.close(descriptor)
            connection.fail(refusal.status, fields=refusal.fields)
            return None
        if pieces:
            return FileExchange(connection, head, descriptor, pieces, self._source, partial(self._broken, request))
        os.close(descriptor)
        connection.send_head(head)
        connection.end()
        return None

    def _broken(self, request: RequestHead) -> None:
        """A file has not given what it had."""
        request.fault = "file"
        if self._may_log():
            self.log.warn(
                "{name}: {path}: the file became shorter, or could not be read, while it was sent, so the client's"
                " connection was broken off. Replace files by renaming others into their place",
                name=self.name,
                path=request.path.decode("ascii"),
            )

    def _may_log(self) -> bool:
        """At most a line a second, so that a lost folder does not fill the disk."""
        now = self._seconds()
        if now - self._logged_at < _LOG_SECONDS:
            return False
        self._logged_at = now
        return True

    def _report(self, error: OSError) -> None:
        if not self._may_log():
            return
        name = os.fsdecode(error.filename) if error.filename is not None else "a file"
        self.log.warn(
            "{name}: {file} cannot be opened: {reason}. The user that the service runs as must be able to read files"
            " and to enter (x) every folder above them",
            name=self.name,
            file=name,
            reason=error.strerror,
        )
