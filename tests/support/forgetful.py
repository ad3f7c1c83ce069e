"""Uvicorn that forgets a connection when it is to end, as it does with one that it has only just accepted.

That one is used on, and waited for, for as long as a client keeps it. ``python -m tests.support.forgetful PORT``.
"""

from __future__ import annotations

import sys

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Forgetful(HttpToolsProtocol):
    """Does not tell the first one."""

    forgot = False

    def shutdown(self) -> None:
        """Called for each connection when the server is to end."""
        if Forgetful.forgot:
            super().shutdown()
        Forgetful.forgot = True


if __name__ == "__main__":
    uvicorn.run("tests.support.asgi_app:app", port=int(sys.argv[1]), http=Forgetful, access_log=False)
