"""The demo CA over HTTP: a twisted.web site that hands each request to ``EmbeddedCa.handle``."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from appliance.ca.server import MAX_BODY, EmbeddedCa, NoAnswerError


class CaResource(Resource):
    """Every path."""

    isLeaf = True

    def __init__(self, ca: EmbeddedCa) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ca = ca

    def render(self, request: Request) -> bytes | int:
        """Any method; the CA itself refuses the wrong ones."""
        assert request.content is not None
        headers = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        method, path = request.method.decode("latin-1"), request.uri.decode("latin-1")
        try:
            response = self._ca.handle(method, path, headers, request.content.read(MAX_BODY + 1))
        except NoAnswerError as silence:
            if not silence.hang:
                request.loseConnection()
            return NOT_DONE_YET
        request.setResponseCode(response.status)
        for name, value in response.headers:
            request.responseHeaders.addRawHeader(name, value)
        if method != "HEAD" and response.status != 204:
            request.setHeader(b"Content-Length", str(len(response.body)).encode())
        return response.body


class _BoundedRequest(Request):
    """Keeps no more of a body than tells that it is too large."""

    defaultContentType = None
    _kept = 0

    def handleContentChunk(self, data: bytes) -> None:
        room = MAX_BODY + 1 - self._kept
        self._kept += min(room, len(data))
        if room > 0:
            super().handleContentChunk(data[:room])  # type: ignore[no-untyped-call]


def ca_site(ca: EmbeddedCa, clock: IReactorTime) -> Site:
    """The protocol factory. Idle connections are closed after a minute."""
    site = Site(CaResource(ca), requestFactory=_BoundedRequest, timeout=60, reactor=clock)
    site.displayTracebacks = False
    return site
