"""Readers of single values: what they take, and what they say to what they refuse."""

import base64
from pathlib import Path

import pytest
import trustme

from appliance.config import UpstreamAddress
from appliance.config.reading import values
from appliance.config.reading.schema import Document, Place, Reader, Refused

KEY = base64.urlsafe_b64encode(bytes(range(200, 232))).decode()


def at(folder: Path = Path("/etc/appliance")) -> Place:
    """A place in a document of that folder."""
    return Place(Document(values.text, folder))


def refusal(reader: Reader[object], value: object, place: Place | None = None) -> str:
    """The message that a value is refused with."""
    with pytest.raises(Refused) as caught:
        reader(value, place or at())
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("example.com", "example.com"),
        ("WWW.Example.COM", "www.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        ("1.example", "1.example"),
        ("*.BÜCHER.example", "*.xn--bcher-kva.example"),
    ],
)
def test_domain_names(given: str, name: str) -> None:
    """They become lower-case A-labels."""
    assert values.domain_name(given, at()) == name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("https://example.com", 'not a URL: write "example.com"'),
        ("example.com/path", 'not a URL: write "example.com"'),
        ("example.com:443", 'must not have a port, the ports are set in [listen]: write "example.com"'),
        ("192.0.2.1", "is an IP address"),
        ("2001:db8::1", "is an IP address"),
        ("[::1]", "is an IP address"),
        ("example.com.", 'must not end with a dot: write "example.com"'),
        ("*.", "must not end with a dot"),
        ("*", "is no wildcard"),
        ("a.*.example", "is no wildcard"),
        ("w*.example", "is no wildcard"),
        ("*.*.example", "is no wildcard"),
        ("a..example", "is no domain name"),
        (".example", "is no domain name"),
        ("-a.example", "is no domain name"),
        ("a_b.example", "is no domain name"),
        ("a b.example", "is no domain name"),
        ("a" * 64 + ".example", "is no domain name"),
        ("a." * 126 + "example", "longer than 253 characters"),
        ("xn--zzzzzz.example", "is no domain name"),
        ("", "must be a domain name"),
        (" example.com", "must be a domain name"),
        ("exa\nmple.com", "must be a domain name"),
        (1, "must be a domain name, in quotes, not 1"),
        (True, "in quotes, not true"),
    ],
)
def test_what_is_no_domain_name(given: object, words: str) -> None:
    """Each is refused with what would be right."""
    assert words in refusal(values.domain_name, given)


@pytest.mark.parametrize(
    ("given", "name"),
    [("Example.com", "example.com"), ("192.0.2.1", "192.0.2.1"), ("2001:DB8:0::1", "2001:db8::1")],
)
def test_site_names(given: str, name: str) -> None:
    """Domain names, and addresses in their one spelling; what is neither is told as a domain name."""
    assert values.site_name(given, at()) == name
    assert "must not have a port" in refusal(values.site_name, "192.0.2.1:80")


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://127.0.0.1:8000", UpstreamAddress("127.0.0.1", 8000)),
        ("http://app", UpstreamAddress("app", 80)),
        ("https://App.Internal", UpstreamAddress("app.internal", 443, tls=True)),
        ("HTTP://my_app:1", UpstreamAddress("my_app", 1)),
        ("http://[::1]:65535", UpstreamAddress("::1", 65535)),
        ("http://[0:0::1]", UpstreamAddress("::1", 80)),
        ("unix:/run/app.sock", UpstreamAddress(path="/run/app.sock")),
        ("unix:app.sock", UpstreamAddress(path="/etc/appliance/app.sock")),
    ],
)
def test_upstreams(given: str, address: UpstreamAddress) -> None:
    """Ports default to the scheme's; relative sockets are beside the file."""
    assert values.upstream(given, at()) == address


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("127.0.0.1:8000", 'as in "http://127.0.0.1:8000"'),
        ("localhost", 'as in "http://localhost"'),
        ("ftp://app", "must begin with http://, https://, h2c:// or unix:"),
        ("http://user:secret@app", "must not hold a user or password"),
        ("http://app:80/", 'write "http://app:80"; to take off a path, use strip_prefix'),
        ("http://app/a@b", 'write "http://app"'),
        ("http://app?x", 'write "http://app"'),
        ("http://app#x", 'write "http://app"'),
        ("http://", "must be "),
        ("http://:80", "must be "),
        ("http://::1", "an IPv6 address in brackets"),
        ("http://[::g]:1", "an IPv6 address in brackets"),
        ("http://[1::2::3]:1", "must have an IPv6 address between the brackets"),
        ("http://256.0.0.1", "must have an IPv4 address of four numbers"),
        ("http://127.1", "must have an IPv4 address of four numbers"),
        ("http://a..b", "must have a host name or an IP address"),
        ("http://-a", "must have a host name or an IP address"),
        ("http://" + "a." * 130 + "b", "must have a host name or an IP address"),
        ("http://app:", "must be "),
        ("http://app:x", "must be "),
        ("http://app:0", "must have a port from 1 to 65535, not 0"),
        ("http://app:65536", "must have a port from 1 to 65535, not 65536"),
        ("unix:", "must name the socket's file"),
        ("unix:/run/", "must name the socket's file"),
        ("unix:///run/app.sock", 'write "unix:/run/app.sock"'),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        (8000, "in quotes, not 8000"),
    ],
)
def test_what_is_no_upstream(given: object, words: str) -> None:
    """Each is refused with what would be right; passwords are not repeated."""
    message = refusal(values.upstream, given)
    assert words in message
    assert "secret" not in message


def test_route_paths() -> None:
    """Plain paths stay as they are."""
    for path in ("/", "/v1", "/v1/users", "/~x/a.b-c_d", "/a:b@c", "/..a"):
        assert values.route_path(path, at()) == path


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("v1", 'write "/v1"'),
        ("/v1/", 'write "/v1"'),
        ("/a//b", "empty segments"),
        ("/a/../b", "segments"),
        ("/.", "segments"),
        ("/a?b", "plain path"),
        ("/a%2fb", "plain path"),
        ("/a b", "plain path"),
        ("/ä", "plain path"),
        (None, "in quotes"),
    ],
)
def test_what_is_no_route_path(given: object, words: str) -> None:
    """A path has one spelling."""
    assert words in refusal(values.route_path, given)


@pytest.mark.parametrize(
    "given",
    [
        "tcp:443",
        "tcp:port=443:interface=127.0.0.1",
        "tcp6:443",
        "unix:/run/x.sock",
        "systemd:domain=INET:index=0",
        "systemd:INET6:name=https",
        "systemd:index=0:domain=UNIX",
    ],
)
def test_endpoints(given: str) -> None:
    """What Twisted's parser takes; systemd's without looking for its sockets, which a check does not have."""
    assert values.endpoint(given, at()) == given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("443", 'write "tcp:443"'),
        ("ssl:443:privateKey=x", "does the rest itself"),
        ("le:/x:tcp:443", "does the rest itself"),
        ("http:80", "Unknown endpoint type"),
        ("tcp:https", "invalid literal"),
        ("tcp:65536", "ports end at 65535"),
        ("tcp:80:color=red", "unexpected keyword"),
        ("tcp", "missing"),
        (443, "in quotes, not 443"),
        ("systemd:garbage", "its domain is INET, INET6 or UNIX"),
        ("systemd:domain=INETS:name=INET", "its domain is INET, INET6 or UNIX"),
        ("systemd:INET", "exactly one of descriptor index or name"),
        ("systemd:INET:index=first", "invalid literal"),
    ],
)
def test_what_is_no_endpoint(given: object, words: str) -> None:
    """The parser's own words are in the message."""
    assert words in refusal(values.endpoint, given)


def test_numbers() -> None:
    """Whole numbers within their bounds, and no booleans."""
    count = values.whole(1, 10)
    assert count(10, at()) == 10
    for wrong in (0, 11, 1.0, True, "5", None):
        assert "must be a whole number from 1 to 10, not" in refusal(count, wrong)


def test_seconds() -> None:
    """Whole or not, but never without end."""
    assert values.seconds(5, at()) == 5.0
    assert values.seconds(0.25, at()) == 0.25
    for wrong in (0, -1, float("inf"), float("nan"), True, "5", 86401, 10**400):
        assert "must be a number of seconds" in refusal(values.seconds, wrong)


def test_seconds_with_a_unit() -> None:
    """As people write them."""
    assert [values.seconds(text, at()) for text in ("5s", "250ms", "1.5m", "2h")] == [5.0, 0.25, 90.0, 7200.0]
    for wrong in ("5 s", "s", "-5s", "5d", "1e3s", "25h", "0s", "5s ", ".5s"):
        assert "must be a number of seconds" in refusal(values.seconds, wrong)


def test_patience() -> None:
    """As seconds, but it may be none."""
    assert [values.patience(value, at()) for value in (0, "0s", 5, "5s")] == [0.0, 0.0, 5.0, 5.0]
    for wrong in (-1, "soon", False):
        assert "must be a number of seconds" in refusal(values.patience, wrong)


def test_words() -> None:
    """One of those there are."""
    version = values.one_of("v1", "v2")
    assert version("v2", at()) == "v2"
    for wrong in ("v3", 1, None, ["v1"]):
        assert 'must be "v1" or "v2", not' in refusal(version, wrong)


def test_request_targets() -> None:
    """A path, with a query if need be, that can stand in a request line."""
    assert values.request_target("/health/?deep=1", at()) == "/health/?deep=1"
    for wrong in ("health", "/a b", "/\u00fc", "/a#b", "http://a/"):
        assert 'must begin with "/"' in refusal(values.request_target, wrong)


def test_booleans() -> None:
    """Only themselves."""
    assert values.boolean(True, at()) is True
    for wrong in (1, "true", None):
        assert "must be true or false" in refusal(values.boolean, wrong)


def test_emails() -> None:
    """One plain address."""
    assert values.email("a.b+c@example.com", at()) == "a.b+c@example.com"
    for wrong in ("mailto:a@example.com", "a@example.com, b@example.com", "a", "a@b", "A <a@example.com>"):
        assert "must be one address" in refusal(values.email, wrong)


def test_directory_urls() -> None:
    """HTTPS, and plain HTTP to this machine only."""
    for url in ("https://acme.example/dir", "https://127.0.0.1:14000/dir", "http://localhost:1/x", "http://[::1]:1"):
        assert values.directory_url(url, at()) == url
    for wrong in (
        "http://acme.example/dir",
        "acme.example",
        "ftp://localhost",
        "https://",
        "https:///x",
        "https://a b",
    ):
        assert "must" in refusal(values.directory_url, wrong)


def test_networks() -> None:
    """CIDR; one address is a network too; bits beyond the prefix are a mistake."""
    assert values.network("10.0.0.0/8", at()) == "10.0.0.0/8"
    assert values.network("192.0.2.1", at()) == "192.0.2.1/32"
    assert values.network("2001:DB8::/32", at()) == "2001:db8::/32"
    assert "host bits set" in refusal(values.network, "10.0.0.1/8")
    assert "must be a network" in refusal(values.network, "internal")


def test_certificate_files(tmp_path: Path) -> None:
    """They must be readable and hold a certificate; names are relative to the document's folder."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "empty.pem").write_text("")
    assert values.certificates_file("ca.pem", at(tmp_path)) == tmp_path / "ca.pem"
    assert "has none that can be read" in refusal(values.certificates_file, "empty.pem", at(tmp_path))
    assert "No such file" in refusal(values.certificates_file, "none.pem", at(tmp_path))
    assert "Is a directory" in refusal(values.certificates_file, ".", at(tmp_path))
    assert "must be a file name" in refusal(values.certificates_file, 1)


def test_folders(tmp_path: Path) -> None:
    """They need not be there, and reading their name does not make them."""
    (tmp_path / "file").touch()
    assert values.folder("state", at(tmp_path)) == tmp_path / "state"
    assert not (tmp_path / "state").exists()
    assert values.folder(str(tmp_path), at()) == tmp_path
    assert "must be a folder" in refusal(values.folder, "file", at(tmp_path))


def test_hmac_keys(tmp_path: Path) -> None:
    """Base64url with or without padding, in the document or in a file; never repeated in a message."""
    assert values.hmac_key(KEY, at()) == KEY.rstrip("=")
    (tmp_path / "key").write_text(KEY + "\n")
    assert values.hmac_key_file("key", at(tmp_path)) == KEY.rstrip("=")
    for wrong in ("sec+ret", "secre", "=", "sec ret"):
        message = refusal(values.hmac_key, wrong)
        assert "must be base64url" in message
        assert "sec" not in message
    for wrong in (" secret", "secret ", "sec\nret", "", 5339):
        message = refusal(values.hmac_key, wrong)
        assert "without blanks at its ends" in message
        assert "sec" not in message
        assert "5339" not in message
    for content in (b"\xff", b"sec ret", b"sec\nret\n", b"sec\r\nret", b""):
        (tmp_path / "key").write_bytes(content)
        message = refusal(values.hmac_key_file, "key", at(tmp_path))
        assert message == "must be a file that holds the key, base64url on one line, and nothing else"
    assert "cannot read" in refusal(values.hmac_key_file, "none", at(tmp_path))
