"""What sites and routes do with requests, as it is written; and what may not be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import Route, Site
from appliance.config.file import load
from appliance.config.site import BasicAuth, HeaderEdits, Hsts, RateLimit, Redirect, Respond, Rules
from appliance.errors import ConfigurationError

UPSTREAM = 'upstream = "http://127.0.0.1:8000"\n'
HASH = "$argon2id$v=19$m=19456,t=2,p=1$37rVp81s5UHp1Nb1rDmAgQ$x2apLzzgrxOFGuz4iobkgLobKqqi1D7A5R6loKAS3ZI"


def read(folder: Path, lines: str) -> Site:
    """A site with these lines."""
    file = folder / "appliance.toml"
    file.write_text(f'acme = {{agree_tos = true}}\n[[site]]\nnames = ["a.example", "www.a.example"]\n{lines}\n')
    (site,) = load(file).sites
    return site


def mistake(folder: Path, lines: str) -> str:
    """The only mistake in these lines, with its place."""
    with pytest.raises(ConfigurationError) as caught:
        read(folder, lines)
    (found,) = caught.value.mistakes
    return f"{found.path}: {found.message}"


def route(folder: Path, lines: str) -> Route:
    """A site's only route, with these lines."""
    (found,) = read(folder, f'[[site.route]]\npath = "/x"\n{lines}').routes
    return found


def test_nothing(tmp_path: Path) -> None:
    """What is not written is not there."""
    site = read(tmp_path, UPSTREAM)
    assert (site.redirect_to, site.hsts, site.maintenance, site.rules) == (None, None, False, Rules())
    assert (site.routes[0].rules, site.routes[0].redirect, site.routes[0].respond) == (Rules(), None, None)


RULES = f"""\
allow = ["192.0.2.0/24", "2001:db8::1"]
deny = "192.0.2.1"
rate_limit = {{requests = 10, per = "1m", burst = 3}}
basic_auth = {{users = {{anna = "{HASH}"}}, realm = "Staff", forward_authorization = true}}
request_headers = {{set = {{X-A = "1"}}, add = {{X-B = ["2", "3"]}}, remove = "Accept"}}
response_headers = {{remove = ["Server", "X-Powered-By"]}}
"""

READ = Rules(
    ("192.0.2.0/24", "2001:db8::1/128"),
    ("192.0.2.1/32",),
    RateLimit(10, 60.0, 3),
    BasicAuth((("anna", HASH),), "Staff", True),
    HeaderEdits((("X-A", "1"),), (("X-B", "2"), ("X-B", "3")), ("Accept",)),
    HeaderEdits(remove=("Server", "X-Powered-By")),
)


def test_rules(tmp_path: Path) -> None:
    """Of a site or of a route, by the same keys."""
    assert read(tmp_path, UPSTREAM + RULES).rules == READ
    assert read(tmp_path, UPSTREAM + RULES).routes[0].rules == Rules()
    assert route(tmp_path, UPSTREAM + RULES).rules == READ
    assert route(tmp_path, UPSTREAM + "basic_auth = false").rules == Rules(basic_auth=False)
    assert READ.request_headers is not None
    assert READ.request_headers.names == {"x-a", "x-b", "accept"}


def test_hashes_are_not_shown() -> None:
    """Not even hashes are written into logs."""
    assert HASH not in repr(READ)


@pytest.mark.parametrize(
    ("lines", "hsts", "field"),
    [
        ("hsts = true", Hsts(), "max-age=31536000"),
        ("hsts = {max_age = 60, include_subdomains = true}", Hsts(60, True), "max-age=60; includeSubDomains"),
        (
            "hsts = {max_age = 63072000, include_subdomains = true, preload = true}",
            Hsts(63072000, True, True),
            "max-age=63072000; includeSubDomains; preload",
        ),
    ],
)
def test_hsts(tmp_path: Path, lines: str, hsts: Hsts, field: str) -> None:
    """In one line, or as a table."""
    assert read(tmp_path, UPSTREAM + lines).hsts == hsts
    assert str(hsts) == field


@pytest.mark.parametrize(
    ("line", "redirect"),
    [
        ('redirect = "https://b.example{path}"', Redirect("https://b.example{path}", 308)),
        (
            'redirect = {to = "https://{host}:8443/a/{path}", status = 302}',
            Redirect("https://{host}:8443/a/{path}", 302),
        ),
        ('redirect = "http://[2001:db8::1]/x?from={path}"', Redirect("http://[2001:db8::1]/x?from={path}")),
        ('redirect = "https://b.example"', Redirect("https://b.example")),
        ('redirect = "/new{path}#a"', Redirect("/new{path}#a")),
        ('redirect = "/"', Redirect("/")),
    ],
)
def test_redirects(tmp_path: Path, line: str, redirect: Redirect) -> None:
    """A place, or a place and a status; on a route or on a site."""
    assert route(tmp_path, line) == Route("/x", redirect=redirect)
    assert read(tmp_path, line).routes == (Route("/", redirect=redirect),)


@pytest.mark.parametrize(
    "to",
    [
        "b.example",
        "//b.example",
        "/{path}",
        "/\\\\b.example",
        "{path}",
        "https://b.example.{host}/",
        "https://b.example{host}",
        "https://b.example@c.example/",
        "https://{path}",
        "https:///x",
        "ftp://b.example/",
        "javascript:alert(1)",
        "https://b.example/{query}",
        "https://b.example/a b",
        "https://b.example/ä",
        "https://b.example/\\r\\nX: y",
        "https://b.example:{path}",
    ],
)
def test_redirects_to_nowhere(tmp_path: Path, to: str) -> None:
    """Nothing that a client sends may choose the host, and nothing else than a location may be in it."""
    assert "site[0].route[0].redirect: must be" in mistake(tmp_path, f'[[site.route]]\npath = "/x"\nredirect = "{to}"')


def test_respond(tmp_path: Path) -> None:
    """A status, a body, a type; each may be left out."""
    assert route(tmp_path, "respond = {}").respond == Respond(200, "", "text/plain; charset=utf-8")
    line = 'respond = {status = 410, body = "<p>\\ngone\\n", content_type = "text/html; charset=\\"utf-8\\""}'
    assert route(tmp_path, line).respond == Respond(410, "<p>\ngone\n", 'text/html; charset="utf-8"')


def test_redirect_to(tmp_path: Path) -> None:
    """One of the names."""
    assert read(tmp_path, UPSTREAM + 'redirect_to = "WWW.a.example"').redirect_to == "www.a.example"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (UPSTREAM + "respond = {}", "site[0].respond: is a second answer to the same requests beside upstream"),
        ('redirect = "/a"\nrespond = {}', "site[0].respond: is a second answer to the same requests beside redirect"),
        ('redirect = "/a"\ntry_for = 1', "site[0].try_for: is about an upstream, and what answers here is redirect"),
        ('[[site.route]]\npath = "/"', "site[0].route[0].upstream: is missing: where they go, or redirect or respond"),
        (
            '[[site.route]]\npath = "/"\nrespond = {}\nsend_proxy = "v1"',
            "site[0].route[0].send_proxy: is about an upst",
        ),
        ('respond = {}\n[[site.route]]\npath = "/"\n' + UPSTREAM, 'site[0].respond: is what "/" goes to'),
        ("", "site[0].upstream: is missing: where the application listens"),
        (
            UPSTREAM + 'redirect_to = "b.example"',
            "site[0].redirect_to: must be one of the site's names, a.example, www",
        ),
        (UPSTREAM + "hsts = false", "site[0].hsts: must be true, or a table"),
        (UPSTREAM + "hsts = {preload = true}", "site[0].hsts.preload: is only for include_subdomains = true"),
        (
            UPSTREAM + 'hsts = true\nresponse_headers = {remove = ["strict-Transport-security"]}',
            "site[0].hsts: is set here and among the response_headers",
        ),
        (
            UPSTREAM + 'hsts = true\n[[site.route]]\npath = "/x"\nrespond = {}\n'
            'response_headers = {add = {Strict-Transport-Security = "max-age=0"}}',
            "site[0].hsts: is set here and among the response_headers",
        ),
        (UPSTREAM + 'maintenance = "yes"', "site[0].maintenance: must be true or false"),
        (UPSTREAM + 'allow = ["10.0.0.1/8"]', "site[0].allow[0]: must be a network"),
        (UPSTREAM + "rate_limit = {per = 1}", "site[0].rate_limit.requests: is missing"),
        (UPSTREAM + "rate_limit = {requests = 0}", "site[0].rate_limit.requests: must be a whole number"),
        (UPSTREAM + "rate_limit = 5", "site[0].rate_limit: must be a table"),
        (UPSTREAM + "basic_auth = false", "site[0].basic_auth: false is for a route of a site that has it"),
        (UPSTREAM + "basic_auth = true", "site[0].basic_auth: must be a table with users, or false"),
        (UPSTREAM + "basic_auth = {}", "site[0].basic_auth.users: is missing"),
        (UPSTREAM + "basic_auth = {users = {}}", "site[0].basic_auth.users: must be a table of users"),
        (UPSTREAM + 'basic_auth = {users = {a = "secret"}}', "site[0].basic_auth.users.a: must be a hash that"),
        (UPSTREAM + "basic_auth = {users = {a = 1}}", "site[0].basic_auth.users.a: must be the hash that"),
        (UPSTREAM + f'basic_auth = {{users = {{"a:b" = "{HASH}"}}}}', "site[0].basic_auth.users.a:b: must be a user's"),
        (
            UPSTREAM + f'basic_auth = {{users = {{a = "{HASH.replace("19456", "999999999")}"}}}}',
            "site[0].basic_auth.users.a: must cost at most m=262144",
        ),
        (
            UPSTREAM + f'basic_auth = {{users = {{a = "{HASH}"}}, realm = \'a"b\'}}',
            "site[0].basic_auth.realm: must not have quotes",
        ),
        (
            UPSTREAM + 'response_headers = {set = {X_A = "1"}}',
            "site[0].response_headers.set.X_A: must not have underscores",
        ),
        (
            UPSTREAM + 'response_headers = {set = {"X A" = "1"}}',
            "site[0].response_headers.set.X A: must be the name of",
        ),
        (UPSTREAM + 'response_headers = {set = "X-A: 1"}', "site[0].response_headers.set: must be a table, as in"),
        (
            UPSTREAM + 'response_headers = {set = {X-A = "1"}, remove = ["x-a"]}',
            "site[0].response_headers.remove: has x-a, which is in set already",
        ),
        (UPSTREAM + "respond = 1", "site[0].respond: must be a table"),
        ("respond = {status = 204, body = 'x'}", "site[0].respond.body: is not for status 204, which never has one"),
        ("respond = {status = 101}", "site[0].respond.status: must be a whole number from 200 to 599"),
        (f"respond = {{body = '{'x' * 65537}'}}", "site[0].respond.body: must be a string of at most 65536 bytes"),
        ("respond = {content_type = 'html'}", "site[0].respond.content_type: must be a media type such as"),
        ("redirect = {to = '/x', status = 200}", "site[0].redirect.status: must be one of 301, 302, 303, 307, 308"),
        ("redirect = {to = '/x', status = 301.0}", "site[0].redirect.status: must be one of"),
        ("redirect = {status = 301}", "site[0].redirect.to: is missing"),
    ],
)
def test_mistakes(tmp_path: Path, lines: str, expected: str) -> None:
    """Each names its key and what would be right."""
    assert mistake(tmp_path, lines).startswith(expected)


def test_nothing_to_redirect(tmp_path: Path) -> None:
    """A name goes to another one, of which there must be one; and to no wildcard."""
    file = tmp_path / "appliance.toml"
    file.write_text(
        'acme = {agree_tos = true}\n[[site]]\nnames = ["a.example"]\nredirect_to = "a.example"\n'
        + UPSTREAM
        + '[[site]]\nnames = ["*.b.example", "b.example"]\nredirect_to = "*.b.example"\nchallenge = "dns-01"\n'
        + UPSTREAM
        + '[site.dns]\nprovider = "exec"\ncommand = "/bin/true"\n'
    )
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert [mistake.path for mistake in caught.value.mistakes] == ["site[0].redirect_to", "site[1].redirect_to"]


@pytest.mark.parametrize("kind", ["set", "add", "remove"])
@pytest.mark.parametrize(
    ("table", "name"),
    [
        *(
            (table, name)
            for table in ("request_headers", "response_headers")
            for name in ("Content-Length", "transfer-encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade")
        ),
        ("request_headers", "Host"),
        ("request_headers", "X-Forwarded-For"),
        ("request_headers", "x-forwarded-proto"),
        ("request_headers", "X-Forwarded-Prefix"),
        ("request_headers", "Forwarded"),
        ("request_headers", "Via"),
        ("request_headers", "Expect"),
        ("request_headers", "Proxy"),
        ("request_headers", "Sec-WebSocket-Key"),
        ("response_headers", "Sec-WebSocket-Accept"),
        ("response_headers", "Content-Encoding"),
    ],
)
def test_own_fields(tmp_path: Path, kind: str, table: str, name: str) -> None:
    """What frames messages and what tells their origin can be neither set, nor added, nor removed."""
    value = f'["{name}"]' if kind == "remove" else f'{{{name} = "1"}}'
    assert f"must not be changed: {name}" in mistake(tmp_path, f"{UPSTREAM}{table} = {{{kind} = {value}}}")


@pytest.mark.parametrize(
    "value", ['"a\\r\\nX-B: 1"', '"a\\nb"', '"\\u0000"', '"é"', '""', '" a"', '"a "', "1", f'"{"x" * 8193}"']
)
def test_injection(tmp_path: Path, value: str) -> None:
    """A value is one line of printable ASCII."""
    found = mistake(tmp_path, f"{UPSTREAM}response_headers = {{set = {{X-A = {value}}}}}")
    assert found.startswith("site[0].response_headers.set.X-A: must be a field's value")


def test_a_request_id_of_its_own(tmp_path: Path) -> None:
    """The field that tells applications a request's id is the appliance's own, too."""
    file = tmp_path / "appliance.toml"
    file.write_text(
        'acme = {agree_tos = true}\naccess_log = {file = "-", request_id_header = "X-Id"}\n'
        f'[[site]]\nnames = ["a.example"]\n{UPSTREAM}request_headers = {{remove = ["x-id"]}}\n'
        '[[site.route]]\npath = "/x"\n' + UPSTREAM + 'request_headers = {set = {X-ID = "1"}}\n'
    )
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert [mistake.path for mistake in caught.value.mistakes] == [
        "site[0].request_headers",
        "site[0].route[0].request_headers",
    ]
