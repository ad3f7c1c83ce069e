"""``[acme.dns]`` and ``[site.dns]``: what each provider takes, what is refused, and in which words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from appliance.config import Configuration
from appliance.config.dns import CustomResponder, Dns, DnsHook, DynamicUpdate, Lexicon, NameServer, TsigKey
from appliance.config.file import load
from appliance.errors import ConfigurationError

SECRET = "c2VjcmV0IHNlY3JldA=="
RFC2136 = 'provider = "rfc2136"\nserver = "192.0.2.53"\n'


def read(folder: Path, dns: str = "", site: str = "", names: str = '["one.test"]') -> Configuration:
    """A configuration with these keys in ``[acme.dns]``, if there are any, and at the end of its site."""
    file = folder / "appliance.toml"
    shared = f"[acme.dns]\n{dns}\n" if dns else ""
    file.write_text(
        f'[acme]\nagree_tos = true\n{shared}[[site]]\nnames = {names}\nupstream = "http://127.0.0.1:8000"\n{site}\n'
    )
    return load(file)


def mistakes(folder: Path, dns: str = "", site: str = "", names: str = '["one.test"]') -> dict[str, str]:
    """What is wrong with it, by key."""
    with pytest.raises(ConfigurationError) as caught:
        read(folder, dns, site, names)
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


def provider(folder: Path, dns: str) -> object:
    """What comes of ``provider`` and its keys."""
    found = read(folder, dns).acme.dns
    assert found is not None
    return found.provider


def test_rfc2136(tmp_path: Path) -> None:
    """Server by address or name, with a key, its secret here or in a file; a zone if need be."""
    assert provider(tmp_path, RFC2136) == DynamicUpdate(NameServer("192.0.2.53"))
    full = f'provider = "rfc2136"\nserver = "ns1.one.test:5353"\nkey_name = "k."\nsecret = "{SECRET}"\n'
    key = TsigKey("k.", SECRET, "hmac-sha512")
    assert provider(tmp_path, f'{full}algorithm = "hmac-sha512"\nzone = "One.test."') == DynamicUpdate(
        NameServer("ns1.one.test", 5353), key, "one.test"
    )
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert provider(tmp_path, f'{RFC2136}key_name = "k"\nsecret_file = "secret"') == DynamicUpdate(
        NameServer("192.0.2.53"), TsigKey("k", SECRET)
    )


def test_lexicon(tmp_path: Path) -> None:
    """Options here, in a file, or partly in each."""
    (tmp_path / "more.toml").write_text('auth_token = "t"\n')
    dns = 'provider = "lexicon"\nname = "cloudflare"\noptions_file = "more.toml"\noptions = {ttl = 120}'
    assert provider(tmp_path, dns) == Lexicon("cloudflare", {"auth_token": "t", "ttl": 120})
    assert provider(tmp_path, 'provider = "lexicon"\nname = "cloudflare"') == Lexicon("cloudflare")


def test_exec(tmp_path: Path) -> None:
    """A program, relative to the configuration like any file, with arguments; or the program alone."""
    (tmp_path / "hook").touch(0o700)
    hook = str(tmp_path / "hook")
    assert provider(tmp_path, 'provider = "exec"\ncommand = ["hook", "-v"]\ntimeout = 5') == DnsHook((hook, "-v"), 5)
    assert provider(tmp_path, f'provider = "exec"\ncommand = "{hook}"') == DnsHook((hook,))


def test_responder(tmp_path: Path) -> None:
    """A callable by its dotted name, which is imported; its options are its own."""
    dns = 'provider = "responder"\nresponder = "collections:OrderedDict.fromkeys"\n[acme.dns.options]\na = 1\nb = true'
    assert provider(tmp_path, dns) == CustomResponder("collections:OrderedDict.fromkeys", {"a": 1, "b": True})


def test_common_keys(tmp_path: Path) -> None:
    """Whom to ask, for how long to wait."""
    servers = 'resolvers = "192.0.2.1"\nnameservers = ["2001:db8::1", "[2001:db8::2]:5353"]'
    assert read(tmp_path, f"{RFC2136}{servers}\npropagation_timeout = 9").acme.dns == Dns(
        DynamicUpdate(NameServer("192.0.2.53")),
        (NameServer("192.0.2.1"),),
        (NameServer("2001:db8::1"), NameServer("2001:db8::2", 5353)),
        9.0,
    )
    assert [str(NameServer("2001:db8::2", 5353)), str(NameServer("192.0.2.1"))] == ["[2001:db8::2]:5353", "192.0.2.1"]


@pytest.mark.parametrize(
    ("dns", "key", "words"),
    [
        ("timeout = 3", "provider", "one of rfc2136, lexicon, exec, responder"),
        ('provider = "bind"', "provider", 'must be "rfc2136", "lexicon", "exec" or "responder", not "bind"'),
        ('provider = "rfc2136"', "server", "is missing: the zone's primary name server"),
        ('provider = "exec"', "command", "is missing"),
        ('provider = "lexicon"', "name", "is missing"),
        ('provider = "responder"', "responder", "is missing"),
        (f'{RFC2136}name = "cloudflare"', "name", 'is no key of provider = "rfc2136", which has server,'),
        (f'{RFC2136}key_name = "k"', "", "needs key_name together with secret or secret_file"),
        (f'{RFC2136}secret = "{SECRET}"', "", "needs key_name together with"),
        (f'{RFC2136}key_name = "k"\nsecret = "{SECRET}"\nsecret_file = "s"', "secret_file", "cannot read"),
        (f'{RFC2136}key_name = "a b"', "key_name", "must be the key's name"),
        (f'{RFC2136}secret = "no"', "secret", "must be the key's secret, base64"),
        (f"{RFC2136}secret = 7", "secret", "must be the key's secret, base64"),
        (f'{RFC2136}secret_file = "latin"', "secret_file", "and nothing else"),
        (f'{RFC2136}algorithm = "hmac-md5"', "algorithm", 'must be "hmac-sha256", '),
        (f'{RFC2136}zone = "*.one.test"', "zone", "not a wildcard"),
        ('provider = "rfc2136"\nserver = "192.0.2.1:x"', "server", "must be a server such as"),
        ('provider = "rfc2136"\nserver = "192.0.2.1:70000"', "server", "must be a server such as"),
        ('provider = "rfc2136"\nserver = "a_b"', "server", "is no domain name"),
        (f'{RFC2136}resolvers = "ns1.one.test"', "resolvers", "must be the server's IP address"),
        ('provider = "lexicon"\nname = "Cloud Flare"', "name", "must be lexicon's name"),
        ('provider = "lexicon"\nname = "x"\noptions = 7', "options", "must be a table"),
        ('provider = "lexicon"\nname = "x"\noptions = {a = ["b"]}', "options.a", "must be a string, a number"),
        ('provider = "lexicon"\nname = "x"\noptions_file = "latin"', "options_file", "is not UTF-8"),
        ('provider = "lexicon"\nname = "x"\noptions_file = "words"', "options_file", "must be a TOML file of options"),
        ('provider = "lexicon"\nname = "x"\noptions_file = "good"\noptions = {a = 1}', "", "has a in options and in"),
        ('provider = "exec"\ncommand = "words"', "command", "is no executable file"),
        ('provider = "exec"\ncommand = []', "command", "must not be empty"),
        ('provider = "exec"\ncommand = "/bin/true"\ntimeout = 601', "timeout", "must be at most 600 seconds"),
        (f"{RFC2136}propagation_timeout = 3600", "propagation_timeout", "must be at most 600 seconds"),
        (f"{RFC2136}propagation_timeout = 0", "propagation_timeout", "above 0"),
        ('provider = "responder"\nresponder = "os.path"', "responder", 'must be "package.module:callable"'),
        ('provider = "responder"\nresponder = "nowhere:x"', "responder", "cannot be imported: No module named"),
        ('provider = "responder"\nresponder = "os:nothing"', "responder", "cannot be used: "),
        ('provider = "responder"\nresponder = "os:sep"', "responder", "must be something to call"),
        (
            'provider = "responder"\nresponder = "broken_on_import:x"',
            "responder",
            "cannot be imported: ZeroDivisionError",
        ),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dns: str, key: str, words: str) -> None:
    """Each names its key and says what would be right."""
    (tmp_path / "latin").write_bytes(b"\xff")
    (tmp_path / "words").write_text("just some words")
    (tmp_path / "good").write_text("a = 2")
    (tmp_path / "broken_on_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = mistakes(tmp_path, dns)
    assert words in found[f"acme.dns.{key}".removesuffix(".")]


def test_a_secret_twice(tmp_path: Path) -> None:
    """Which of them counts is not to be guessed."""
    (tmp_path / "secret").write_text(SECRET)
    found = mistakes(tmp_path, f'{RFC2136}key_name = "k"\nsecret = "{SECRET}"\nsecret_file = "secret"')
    assert found == {"acme.dns": "has both secret and secret_file: leave one of them out"}


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    """Not in messages, and not where a configuration is printed."""
    assert "hush" not in str(mistakes(tmp_path, f'{RFC2136}secret = "hush hush"'))
    printed = repr(read(tmp_path, f'{RFC2136}key_name = "k"\nsecret = "{SECRET}"'))
    printed += repr(read(tmp_path, 'provider = "lexicon"\nname = "x"\noptions = {auth_token = "hush"}'))
    assert SECRET not in printed
    assert "hush" not in printed


def test_lexicon_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How to install it is said."""
    monkeypatch.setitem(sys.modules, "lexicon", None)
    found = mistakes(tmp_path, 'provider = "lexicon"\nname = "cloudflare"')
    assert "pip install 'appliance[lexicon]'" in found["acme.dns.name"]


def test_wildcards(tmp_path: Path) -> None:
    """They need DNS-01, of whichever kind, and nothing else."""
    names = '["one.test", "*.one.test"]'
    assert read(tmp_path, RFC2136, names=names).sites[0].names == ("one.test", "*.one.test")
    assert read(tmp_path, site=f"[site.dns]\n{RFC2136}", names=names).sites[0].challenge == "dns-01"
    assert "set up [acme.dns], or [site.dns]" in mistakes(tmp_path, names=names)["site[0].names"]
    found = mistakes(tmp_path, RFC2136, 'challenge = "http-01"', names)
    assert "certifies wildcards (*.one.test) no other way" in found["site[0].challenge"]


def test_a_sites_challenge(tmp_path: Path) -> None:
    """One kind; DNS-01 only with somewhere to put records; a site's own DNS settings are for nothing else."""
    assert read(tmp_path).sites[0].challenge is None
    assert read(tmp_path, RFC2136).sites[0].challenge is None
    assert read(tmp_path, site='challenge = "tls-alpn-01"').sites[0].challenge == "tls-alpn-01"
    assert read(tmp_path, RFC2136, 'challenge = "dns-01"').sites[0].challenge == "dns-01"
    assert "needs somewhere to put records" in mistakes(tmp_path, site='challenge = "dns-01"')["site[0].challenge"]
    assert "must be" in mistakes(tmp_path, site='challenge = "dns"')["site[0].challenge"]
    both = mistakes(tmp_path, site=f'challenge = "http-01"\n[site.dns]\n{RFC2136}')
    assert 'this site has "http-01"' in both["site[0].dns"]
