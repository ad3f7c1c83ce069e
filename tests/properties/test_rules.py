"""Whatever a configuration says and a client sends: edited heads stay well-formed, redirects lead where they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h11
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Limits
from appliance.config.reading.schema import Document, Place
from appliance.config.reading.site import RULES, location
from appliance.config.site import Redirect
from appliance.errors import RequestError
from appliance.http.http1 import read_request, write_response
from appliance.http.message import ResponseHead
from appliance.proxy.answers import Redirection, ToName
from appliance.proxy.edits import FieldEdit
from appliance.proxy.routing import RouteEntry

NAMES = st.one_of(
    st.sampled_from(["X-A", "x-a", "Set-Cookie", "Server", "Content-Length", "X.A", "*"]), st.text(max_size=8)
)
VALUES = st.one_of(st.sampled_from(["1", "a\r\nX-B: 1", "a b\tc", "é"]), st.text(max_size=8))
RECEIVED = [(b"Server", b"x"), (b"x-a", b"1"), (b"X-AA", b"2"), (b"Set-Cookie", b"a=X-A: 1")]


def read(reader: Any, value: object) -> tuple[Any, ...]:
    """What comes of a value, alone in a tuple; nothing, if it is refused."""
    return Place(Document(reader, folder=Path("/"))).read(reader, value)


@given(
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.dictionaries(NAMES, st.one_of(VALUES, st.lists(VALUES, min_size=1, max_size=2)), max_size=3),
    st.lists(NAMES, min_size=1, max_size=3),
)
def test_heads_stay_well_formed(set_fields: dict[str, str], add: dict[str, str | list[str]], remove: list[str]) -> None:
    """Either it is refused, or a strict client reads exactly the fields that should be there."""
    for edits in read(RULES["response_headers"], {"set": set_fields, "add": add, "remove": remove}):
        response = ResponseHead(200, b"OK")
        response.fields = list(RECEIVED)
        response.framing = 2
        FieldEdit([edits]).apply(response)
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
        client.receive_data(write_response(response, 1, True))
        got = client.next_event()
        assert isinstance(got, h11.Response)
        gone = {name.lower() for name in (*remove, *set_fields)}
        lines = [(name.decode(), value.decode()) for name, value in RECEIVED if name.decode().lower() not in gone]
        lines += [*edits.set, *edits.add, ("Content-Length", "2")]
        expected = [(name.lower().encode(), value.encode()) for name, value in lines]
        assert list(got.headers) == expected


class Client:
    """Keeps the location that it is sent to."""

    location = b""

    def answer(self, page: tuple[ResponseHead, bytes]) -> None:
        ((_, self.location),) = page[0].fields


TEMPLATES = st.one_of(
    st.sampled_from(
        [
            "https://good.example{path}",
            "https://good.example/x?y={path}",
            "https://{host}{path}",
            "/new{path}",
            "https://good.example",
        ]
    ),
    st.lists(
        st.sampled_from(["https://", "/", "//", "good.example", "{path}", "{host}", ":80", "?", "#", "@", "\\", "."])
    ).map("".join),
)
TARGETS = st.one_of(
    st.sampled_from(["/", "//evil.example/", "/\\evil.example", "/a?b=c", "/@evil.example", "/.evil.example"]),
    st.text("/\\@:?#.%ab", max_size=10).map(lambda text: "/" + text),
)


def sent_to(target: Any, path: str, strip: bool) -> bytes | None:
    """Where a request for good.example leads; None if it is none."""
    try:
        request = read_request(b"GET %b HTTP/1.1\r\nHost: good.example\r\n\r\n" % path.encode(), Limits())
    except RequestError:
        return None
    client: Any = Client()
    target.begin(client, request, RouteEntry(b"/a" if strip else b"/", target, strip), b"")
    return bytes(client.location)


@given(TEMPLATES, TARGETS, st.booleans())
def test_redirects_keep_their_host(template: str, path: str, strip: bool) -> None:
    """The host is the one in the template, or the name asked for; for a path, it stays."""
    for to in read(location, template):
        told = sent_to(Redirection(Redirect(to)), "/a" + path if strip else path, strip)
        if told is not None:
            assert told.isascii()
            assert not told.startswith((b"//", b"/\\"))
            found = urlsplit(told.decode())
            assert (found.scheme, found.hostname) in (
                ("", None),
                ("https", "good.example"),
                ("https", urlsplit(to).hostname),
            )


@given(TARGETS)
def test_names_keep_the_path(path: str) -> None:
    """To the other name, whatever the path pretends to be."""
    told = sent_to(ToName(b"other.example"), path, False)
    if told is not None:
        assert told == b"https://other.example" + path.encode()
        assert urlsplit(told.decode()).hostname == "other.example"
