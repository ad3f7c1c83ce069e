"""What other clients had, put into our folder."""

from __future__ import annotations

import json
import os
import stat
from datetime import timedelta
from pathlib import Path

from appliance.acme.account import AccountFiles
from appliance.acme.jose import AccountKey
from appliance.config import Site
from appliance.ops.imports.found import Found, FoundAccount, FoundCertificate
from appliance.ops.imports.takeover import take_over
from appliance.ops.status import offline
from tests.support.certificates import make_certificate
from tests.support.reports import NOW

CA = "https://ca.test/directory"
SOURCE = Path("/etc/letsencrypt/live/x")


def certificate(*names: str, days: int = 60) -> FoundCertificate:
    """A found one that lasts so long."""
    made = make_certificate(list(names), not_before=NOW - timedelta(days=30), not_after=NOW + timedelta(days=days))
    return FoundCertificate(SOURCE, made)


def test_certificates_go_to_the_site_that_they_cover_best(tmp_path: Path) -> None:
    """The longest-lasting first; those of no site are kept under a name of their own; expired ones are left."""
    found = Found(
        certificates=[
            certificate("www.one.test", "one.test", days=10),
            certificate("www.one.test", "one.test", days=50),
            certificate("*.two.test", "two.test"),
            certificate("three.test", days=-1),
            certificate(),
        ]
    )
    sites = (Site(("www.one.test", "one.test"), ()),)
    taken = take_over(found, tmp_path, sites, (), NOW)
    assert sum(each.taken for each in taken) == 2
    stored = offline.read(tmp_path).certificates
    assert sorted(stored) == ["two.test", "www.one.test"]
    assert stored["www.one.test"].not_after == NOW + timedelta(days=50)
    assert any("expired" in each.why for each in taken)
    assert any("no name to keep it under" in each.why for each in taken)
    assert any("lasts as long" in each.why for each in taken)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o600}


def test_what_is_there_already_stays_unless_forced(tmp_path: Path) -> None:
    """And is kept as the previous generation when it is replaced; a broken file is no hindrance."""
    first, second = certificate("one.test"), certificate("one.test")
    take_over(Found(certificates=[first]), tmp_path, (), (), NOW)
    assert not take_over(Found(certificates=[second]), tmp_path, (), (), NOW)[0].taken
    assert take_over(Found(certificates=[second]), tmp_path, (), (), NOW, force=True)[0].taken
    assert (tmp_path / "certificates" / "one.test.pem.previous").read_bytes() == first.certificate.to_pem()
    (tmp_path / "certificates" / "one.test.pem").write_text("broken")
    assert take_over(Found(certificates=[first]), tmp_path, (), (), NOW)[0].taken


def test_the_newest_account_of_each_ca_is_taken(tmp_path: Path) -> None:
    """With its URL and contact, so that nothing has to be registered; ours stays unless forced."""
    old, new = AccountKey.generate(), AccountKey.generate()
    accounts = [
        FoundAccount(SOURCE, CA, new, "https://ca.test/acct/2", None, "2026"),
        FoundAccount(SOURCE, CA, old, "https://ca.test/acct/1", None, "2025"),
        FoundAccount(SOURCE, "https://other.test/dir", old),
    ]
    assert all(each.taken for each in take_over(Found(accounts=accounts), tmp_path, (), ("mailto:a@b.test",), NOW))
    files = AccountFiles.of(tmp_path, CA)
    saved = files.load(NOW)
    assert saved.key.thumbprint == new.thumbprint
    assert (saved.url, saved.contact) == ("https://ca.test/acct/2", ("mailto:a@b.test",))
    assert json.loads(files.details.read_bytes())["url"] == "https://ca.test/acct/2"
    assert AccountFiles.of(tmp_path, "https://other.test/dir").load(NOW).url is None
    assert not any(each.taken for each in take_over(Found(accounts=accounts), tmp_path, (), (), NOW))
    assert all(each.taken for each in take_over(Found(accounts=accounts), tmp_path, (), (), NOW, force=True))


def test_accounts_of_no_ca_are_left(tmp_path: Path) -> None:
    """Others' files may hold anything in a URL's place; the other accounts are taken."""
    key = AccountKey.generate()
    accounts = [FoundAccount(SOURCE, "http://[", key), FoundAccount(SOURCE, CA, key)]
    left, taken = take_over(Found(accounts=accounts), tmp_path, (), (), NOW)
    assert (left.taken, taken.taken) == (False, True)
    assert left.why == "http://[ is no URL of a CA: Invalid IPv6 URL"


def test_what_root_imports_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    """The service that is to read it does not run as root."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
    found = Found(certificates=[certificate("one.test")], accounts=[FoundAccount(SOURCE, CA, AccountKey.generate())])
    take_over(found, tmp_path, (), (), NOW)
    owner = tmp_path.stat().st_uid
    assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {owner}
