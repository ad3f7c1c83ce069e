"""All keys: what they mean, and all that can be wrong with them at once."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from attrs import fields

from appliance import config
from appliance.config import (
    LETS_ENCRYPT,
    Acme,
    Backend,
    Configuration,
    ExternalAccount,
    HealthCheck,
    Listen,
    PassiveCheck,
    Route,
    Site,
    UpstreamAddress,
)
from appliance.config.file import load
from appliance.config.reading.configuration import CONFIGURATION
from appliance.config.reading.schema import Document, Either, Many, Place, Table, key_paths
from tests.support.certificates import shared_authority
from tests.support.configurations import SMALLEST, mistakes, where, written

SHIPPED = Path(__file__).parents[4] / "etc" / "appliance.toml"


def test_the_smallest(tmp_path: Path) -> None:
    """One site is enough; everything else has a default."""
    assert load(written(tmp_path, SMALLEST)) == Configuration(
        sites=(Site(("example.com",), (Route("/", (UpstreamAddress("127.0.0.1", 8000),)),)),),
        acme=Acme(agree_tos=True),
    )


def test_every_key(tmp_path: Path) -> None:
    """All keys together arrive where they belong."""
    (tmp_path / "key").write_text("AAAA")
    loaded = load(
        written(
            tmp_path,
            """\
            state_dir = "state"
            trusted_proxies = ["10.0.0.0/8"]
            listen = {http = "tcp:8080", https = ["tcp:8443", "unix:/run/x.sock"]}
            [acme]
            directory = "https://acme.example/directory"
            email = "admin@example.com"
            agree_tos = true
            external_account = {kid = "k", hmac_key_file = "key"}
            [limits]
            headers = 50
            body_bytes = 0
            [timeouts]
            idle = 5
            [[site]]
            names = ["Example.com", "www.example.com"]
            upstream = ["http://a:1", "unix:/run/a.sock"]
            [[site.route]]
            path = "/v1"
            strip_prefix = true
            upstream = "https://b"
            [[site]]
            names = ["api.example.com"]
            route = [{path = "/v1", upstream = "http://c"}, {path = "/v2", upstream = "http://c"}]
            """,
        )
    )
    c = (UpstreamAddress("c", 80),)
    assert loaded == Configuration(
        sites=(
            Site(
                ("example.com", "www.example.com"),
                (
                    Route("/v1", (UpstreamAddress("b", 443, tls=True),), strip_prefix=True),
                    Route("/", (UpstreamAddress("a", 1), UpstreamAddress(path="/run/a.sock"))),
                ),
            ),
            Site(("api.example.com",), (Route("/v1", c), Route("/v2", c))),
        ),
        state_dir=tmp_path / "state",
        listen=Listen(http=("tcp:8080",), https=("tcp:8443", "unix:/run/x.sock")),
        acme=Acme(
            "https://acme.example/directory", "admin@example.com", True, external_account=ExternalAccount("k", "AAAA")
        ),
        limits=config.Limits(headers=50, body_bytes=0),
        timeouts=config.Timeouts(idle=5.0),
        trusted_proxies=("10.0.0.0/8",),
    )
    assert not (tmp_path / "state").exists()


def test_how_addresses_are_used(tmp_path: Path) -> None:
    """The same keys for a route, and for a site's own upstream; weights and networks of load balancers too."""
    (tmp_path / "ca.pem").write_bytes(shared_authority().pem)
    keys = """\
        balance = "client_hash"
        try_for = "1.5s"
        max_waiting = 10
        max_connections = 20
        upstream_ca_file = "ca.pem"
        send_proxy = "v2"
        health_check = {path = "/health?a=b", interval = "1m", timeout = 1, status = [200, 204]}
        passive_check = {failures = 0, window = "1s", cool_down = "2s"}
        """
    loaded = load(
        written(
            tmp_path,
            f"""\
        [listen]
        proxy_protocol_from = ["10.0.0.0/8", "192.0.2.1"]
        [acme]
        agree_tos = true
        [[site]]
        names = ["example.com"]
        upstream = ["http://a", {{url = "http://b", weight = 3}}]
{keys}
        [[site.route]]
        path = "/v1"
        upstream = {{url = "http://c", weight = 2}}
{keys}""",
        )
    )
    [site] = loaded.sites
    assert [route.backend for route in site.routes] == 2 * [
        Backend(
            balance="client_hash",
            try_for=1.5,
            max_waiting=10,
            max_connections=20,
            ca_file=tmp_path / "ca.pem",
            send_proxy="v2",
            health_check=HealthCheck("/health?a=b", 60.0, 1.0, (200, 204)),
            passive_check=PassiveCheck(0, 1.0, 2.0),
        )
    ]
    assert [[address.weight for address in route.upstreams] for route in site.routes] == [[2], [1, 3]]
    assert loaded.listen.proxy_protocol_from == ("10.0.0.0/8", "192.0.2.1/32")


def test_how_addresses_are_not_used(tmp_path: Path) -> None:
    """Words that are none, addresses twice by different weights, and keys for an upstream that is not there."""
    file = written(
        tmp_path,
        """\
        [acme]
        agree_tos = true
        [[site]]
        names = ["a.example"]
        upstream = ["http://a", {url = "http://a", weight = 2}, {weight = 2}, {url = "http://b", weight = 0}]
        balance = "best"
        try_for = -1
        health_check = {interval = 1}
        [[site]]
        names = ["b.example"]
        try_for = 1
        [[site.route]]
        path = "/v1"
        upstream = "http://a"
        health_check = {path = "health"}
        """,
    )
    assert where(file) == [
        (5, "site[0].upstream[1]"),
        (5, "site[0].upstream[2].url"),
        (5, "site[0].upstream[3].weight"),
        (6, "site[0].balance"),
        (7, "site[0].try_for"),
        (8, "site[0].health_check.path"),
        (11, "site[1].try_for"),
        (15, "site[1].route[0].health_check.path"),
    ]


def test_the_contract_s_example(tmp_path: Path) -> None:
    """The layout that is promised to stay valid."""
    loaded = load(
        written(
            tmp_path,
            """\
            state_dir = "/var/lib/appliance"

            [listen]
            http  = ["tcp:80"]
            https = ["tcp:443"]

            [acme]
            directory = "https://acme-v02.api.letsencrypt.org/directory"
            email     = "admin@example.com"
            agree_tos = true

            [[site]]
            names    = ["example.com", "www.example.com"]
            upstream = "http://127.0.0.1:8000"

            [[site]]
            names = ["api.example.com"]
              [[site.route]]
              path         = "/v1"
              upstream     = ["http://127.0.0.1:8001", "http://127.0.0.1:8002"]
              strip_prefix = true
            """,
        )
    )
    assert loaded.acme.directory == LETS_ENCRYPT
    assert [site.name for site in loaded.sites] == ["example.com", "api.example.com"]


def test_the_shipped_file_has_every_key() -> None:
    """``etc/appliance.toml`` is valid, and mentions each key of the schema, if only in a comment."""
    load(SHIPPED)
    text = SHIPPED.read_text()
    mentioned = {line.lstrip("# ").partition(" =")[0].strip("[]") for line in text.splitlines()}
    absent = [".".join(path) for path in key_paths(CONFIGURATION) if not {path[-1], ".".join(path)} & mentioned]
    assert absent == []


def test_the_shipped_file_shows_the_defaults() -> None:
    """What it sets in the tables of numbers is what holds without it."""
    shipped = load(SHIPPED)
    assert (shipped.limits, shipped.timeouts) == (config.Limits(), config.Timeouts())
    assert (shipped.listen, shipped.state_dir) == (Listen(), Path("/var/lib/appliance"))


@pytest.mark.parametrize(
    ("table", "kind"),
    [("limits", config.Limits), ("timeouts", config.Timeouts), ("listen", Listen), ("acme", Acme)],
)
def test_classes_and_tables_agree(table: str, kind: type) -> None:
    """Each attribute has a key of its name."""
    keys = {path[1] for path in key_paths(CONFIGURATION) if path[0] == table and len(path) > 1}
    assert keys == {field.name for field in fields(kind)}


def test_all_mistakes_at_once_with_their_lines(tmp_path: Path) -> None:
    """Each mistake has its key's path and line, in the order of the file; one does not hide another."""
    file = written(
        tmp_path,
        """\
        state_dir = 1
        stat = true

        [listen]
        https = [
          "tcp:443",
          "ssl:444",
        ]
        [acme]
        email = "x"
        trusted_proxies = []
        ca_file = "absent.pem"
        [timeouts]
        idle = "soon"
        [[site]]
        names = ["a.example", "b.example:80"]
        [[site]]
        upstream = "localhost"
        [[site]]
        name = ["c.example"]
        upstream = "http://c"
        [[site]]
        names = [
          "d.example",
          "A.example",
        ]
        [[site.route]]
        path = "v1"
        [[site.route]]
        upstream = "http://d"
        """,
    )
    assert where(file) == [
        (1, "state_dir"),
        (2, "stat"),
        (7, "listen.https[1]"),
        (9, "acme.agree_tos"),
        (10, "acme.email"),
        (11, "acme.trusted_proxies"),
        (12, "acme.ca_file"),
        (14, "timeouts.idle"),
        (15, "site[0].upstream"),
        (16, "site[0].names[1]"),
        (17, "site[1].names"),
        (18, "site[1].upstream"),
        (20, "site[2].name"),
        (25, "site[3].names[1]"),
        (27, "site[3].route[0].upstream"),
        (28, "site[3].route[0].path"),
        (29, "site[3].route[1].path"),
    ]


def test_mistakes_between_keys_are_among_them(tmp_path: Path) -> None:
    """What good keys say against each other is told, whatever else is wrong with their site or another table."""
    file = written(
        tmp_path,
        """\
        workers = 0
        acme = {agree_tos = true, email = "a@example.com"}
        access_log = {file = "-", request_id_header = "X-Id"}
        [timeouts]
        idle = "soon"
        [[site]]
        names = ["a.example", "*.a.example"]
        redirect_to = "b.example"
        issuer = "nobody"
        allow = "everybody"
        request_headers = {set = {X-A = "1"}, add = {X-A = "2", X-B = ""}, remove = "x-a"}
        upstream = "http://a"
        respond = {}
        hsts = true
        response_headers = {remove = "Strict-Transport-Security"}
        [[site]]
        names = ["c.example"]
        challenge = "dns-01"
        request_headers = {set = {X-ID = "1"}}
        [[site.route]]
        path = "/v1"
        upstream = "c"
        request_headers = {remove = "X-Id"}
        root = {}
        """,
    )
    assert where(file) == [
        (1, "workers"),
        (5, "timeouts.idle"),
        (7, "site[0].names"),
        (8, "site[0].redirect_to"),
        (9, "site[0].issuer"),
        (10, "site[0].allow"),
        (11, "site[0].request_headers.add.X-B"),
        (11, "site[0].request_headers.remove"),
        (13, "site[0].respond"),
        (14, "site[0].hsts"),
        (18, "site[1].challenge"),
        (19, "site[1].request_headers"),
        (22, "site[1].route[0].upstream"),
        (23, "site[1].route[0].request_headers"),
        (24, "site[1].route[0].root.folder"),
    ]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('acme = {agree_tos = true, dns = {provider = "none"}}', "acme.dns.provider"),
        ("acme = 1", "acme"),
        ("acmee = {agree_tos = true}", "acmee"),
        ("acme = {agree_tos = true, issuer = [{}]}", "acme.issuer[0].name"),
    ],
)
def test_no_mistakes_are_made_up(tmp_path: Path, line: str, wrong: str) -> None:
    """What a key that is wrong may be meant to say is held against nobody: a CA, records, an upstream, a name."""
    file = written(
        tmp_path,
        f"""\
        {line}
        [[site]]
        names = ["a.example", "*.a.example"]
        issuer = "somebody"
        upstream = "http://a"
        [[site]]
        names = ["*.b.example"]
        dsn = 1
        upstream = "http://b"
        [[site]]
        names = ["c.example", "c_d.example"]
        redirect_to = "c_d.example"
        challange = "dns-01"
        upsteam = "http://c"
        try_for = 1
        [[site.route]]
        path = "/v1"
        upstream = "http://c"
        """,
    )
    found = [path for _, path in where(file)]
    assert found[0] == wrong
    assert [path for path in found if path.startswith("site")] == [
        "site[1].dsn",
        "site[2].names[1]",
        "site[2].redirect_to",
        "site[2].challange",
        "site[2].upsteam",
    ]


def test_an_empty_file(tmp_path: Path) -> None:
    """It is good: there are no sites yet, and no CA that terms of service would have to be agreed with."""
    assert load(written(tmp_path, "")) == Configuration(())


def test_the_first_site(tmp_path: Path) -> None:
    """It takes an agreement, which the message explains, beside whatever is wrong with the site."""
    agreement, upstream = mistakes(written(tmp_path, '[[site]]\nnames = ["a.example"]'))[::-1]
    assert agreement.path == "acme"
    assert "agree_tos = true" in agreement.message
    assert upstream.path == "site[0].upstream"


def test_a_site_goes_somewhere(tmp_path: Path) -> None:
    """Without upstream and routes it is refused; with both, the upstream is the route of everything else."""
    (mistake,) = mistakes(written(tmp_path, SMALLEST.replace("upstream", "#")))
    assert (mistake.path, mistake.line) == ("site[0].upstream", 3)
    text = SMALLEST + '[[site.route]]\npath = "/"\nupstream = "http://b"\n'
    (mistake,) = mistakes(written(tmp_path, text))
    assert (mistake.path, mistake.line) == ("site[0].upstream", 5)


def test_names_are_unique_over_all_sites(tmp_path: Path) -> None:
    """After all spellings are one; the message says where the other is."""
    text = SMALLEST + '[[site]]\nnames = ["EXAMPLE.com"]\nupstream = "http://b"\n'
    (mistake,) = mistakes(written(tmp_path, text))
    assert (mistake.path, mistake.line) == ("site[1].names[0]", 7)
    assert "site[0].names[0]" in mistake.message


def test_paths_and_upstreams_are_unique_where_it_matters(tmp_path: Path) -> None:
    """A path once in a site, an upstream once in a list; other sites may have them too."""
    file = written(
        tmp_path,
        """\
        acme = {agree_tos = true}
        [[site]]
        names = ["a.example"]
        route = [
          {path = "/v1", upstream = ["http://a", "http://A:80"]},
          {path = "/v1", upstream = "http://a"},
        ]
        [[site]]
        names = ["b.example"]
        route = [{path = "/v1", upstream = ["http://a"]}]
        """,
    )
    assert where(file) == [(5, "site[0].route[0].upstream[1]"), (6, "site[0].route[1].path")]


NUMBERS = [16**5000, -(16**5000), 10**400, 301.0, 1e308, float("inf"), float("nan"), -1, 0, True]
WORDS = ["", " ", "x" * 300, "9" * 5000, f"127.0.0.1:{'9' * 5000}", "\u00b2", "*.", "a..b", "xn--a", "~nosuch", "{"]
ADDRESSES = ["tcp:\u00b2", "systemd:garbage", "http://[", "[::1]:\u00b2"]
OTHERS = [date(2026, 1, 1), [], {}, [[]], [{}], [1, "a", {}], {"": ""}, {"a": 16**5000}]


@pytest.mark.parametrize("odd", [NUMBERS, WORDS, ADDRESSES, OTHERS], ids=["numbers", "words", "addresses", "others"])
def test_odd_values(tmp_path: Path, odd: list[object]) -> None:
    """Whatever stands at a key, it is taken or its mistakes are noted: reading itself never fails."""
    for path in key_paths(CONFIGURATION):
        for value in (*odd, *([each] for each in odd)):
            document = Document(CONFIGURATION, folder=tmp_path)
            assert Place(document).read(CONFIGURATION, _holding(CONFIGURATION, path, value)) or document.mistakes, path


def _holding(reader: object, path: tuple[str, ...], value: object) -> Any:
    """Tables and arrays that lead to the value."""
    if not path:
        return value
    if isinstance(reader, Many):
        return [_holding(reader.item, path, value)]
    if isinstance(reader, Either):
        return _holding(reader.table, path, value)
    assert isinstance(reader, Table)
    return {path[0]: _holding(reader.keys[path[0]], path[1:], value)}
