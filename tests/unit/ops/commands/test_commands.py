"""Commands in this process, on folders of their own: what they print, write, and exit with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.acme.state import RenewalState
from appliance.errors import ApplianceError
from appliance.ops.commands import authorities, doctor, keeping, running
from appliance.ops.commands.cli import main
from appliance.ops.control.client import CommandFailedError, NotRunningError
from appliance.ops.deploy.export import COMBINED
from appliance.ops.imports import caddy as imports_of_caddy
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate
from tests.support.operator import somebody_listens
from tests.unit.ops.imports import test_acmesh as acmesh
from tests.unit.ops.imports import test_caddy as caddy
from tests.unit.ops.imports import test_certbot as certbot

Said = pytest.CaptureFixture[str]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder that holds one.test."""
    folder = tmp_path / "state"
    (folder / "certificates").mkdir(parents=True)
    (folder / "certificates" / "one.test.pem").write_bytes(make_certificate(["one.test"]).to_pem())
    return folder


def config(folder: Path, state: Path) -> str:
    """A configuration for it; its name."""
    file = folder / "appliance.toml"
    file.write_text(
        f'state_dir = "{state}"\nacme = {{agree_tos = true, email = "a@b.example"}}\n'
        '[[site]]\nnames = ["one.test", "www.one.test"]\nupstream = "http://127.0.0.1:1"\n'
    )
    return str(file)


def test_status_without_a_service(state: Path, tmp_path: Path, capsys: Said) -> None:
    """From the folder; with the configuration's names where there is one."""
    assert main(["status", "--state-dir", str(state)]) == 3
    assert "not running" in capsys.readouterr().out
    assert main(["status", "www.one.test", "--config", config(tmp_path, state)]) == 3
    assert "names" in capsys.readouterr().out
    assert main(["status", "--json", "--config", config(tmp_path, state), "--state-dir", str(state)]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["sites"][0]["covered"] == ["one.test"]
    assert main(["status", "two.test", "--state-dir", str(state)]) == 1
    assert "two.test is no site here; the sites are one.test" in capsys.readouterr().err


def test_status_tells_what_alarms(state: Path, capsys: Said) -> None:
    """Also when nothing runs."""
    failed = RenewalState(names=("two.test",), failures=7, problem="the CA said no")
    (state / "renewal").mkdir()
    (state / "renewal" / "two.test.json").write_bytes(failed.to_json())
    main(["status", "--state-dir", str(state)])
    assert "cannot be reached over TLS: the CA said no" in " ".join(capsys.readouterr().out.split())


def test_a_folder_that_cannot_be_read(tmp_path: Path, capsys: Said) -> None:
    """Status 1, in words, or in JSON."""
    (tmp_path / "certificates").write_text("")
    assert main(["status", "--state-dir", str(tmp_path), "--json"]) == 1
    assert "cannot read" in json.loads(capsys.readouterr().out)["error"]


def test_export(state: Path, tmp_path: Path, capsys: Said) -> None:
    """The files that were written."""
    to = tmp_path / "out"
    assert main(["export", "one.test", "--to", str(to), "--state-dir", str(state)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(to / COMBINED)
    assert Certificate.from_pem((to / COMBINED).read_bytes()).covers("one.test")
    assert main(["export", "one.test", "--to", str(to), "--state-dir", str(state), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 3
    assert main(["export", "two.test", "--to", str(to), "--state-dir", str(state)]) == 1
    assert main(["export", "one.test", "--to", "x" * 300, "--state-dir", str(state)]) == 1
    assert "cannot create the folder xxx" in capsys.readouterr().err


def test_forget(state: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing without --yes; never what is configured or served."""
    assert main(["forget", "one.test", "--config", config(tmp_path, state), "--yes"]) == 1
    assert "still configured" in capsys.readouterr().err
    monkeypatch.setattr(keeping, "ask", lambda *_: {"sites": [{"site": "one.test"}]})
    assert main(["forget", "one.test", "--state-dir", str(state), "--yes"]) == 1
    assert "still served" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["forget", "one.test", "--state-dir", str(state)]) == 0
    said = capsys.readouterr()
    assert "would delete" in said.out
    assert "--yes" in said.err
    assert main(["forget", "one.test", "--state-dir", str(state), "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] is True
    assert list((state / "certificates").iterdir()) == []
    assert main(["forget", "one.test", "--state-dir", str(state), "--yes"]) == 1
    assert "nothing is kept for one.test" in capsys.readouterr().err
    long = "x" * 300
    assert main(["forget", "one.test", "--state-dir", long]) == 1
    assert capsys.readouterr().err.startswith(f"cannot look into {Path(long).absolute()}: File name too long; run")


def test_imports(state: Path, tmp_path: Path, capsys: Said) -> None:
    """Of all three clients: what is taken, what is left, what remains to be done."""
    le, storage, home = tmp_path / "le", tmp_path / "caddy", tmp_path / "acme.sh"
    certbot.lineage(le, "two.test", make_certificate(["two.test"]))
    certbot.account(le, "abc")
    caddy.site(storage, caddy.ISSUER, "three.test", {})
    acmesh.certificate(home, "four.test", None)
    (home / "account.conf").write_text("")
    file = config(tmp_path, state)
    for client, folder, name in (("certbot", le, "two"), ("caddy", storage, "three"), ("acme.sh", home, "four")):
        assert main([f"import-{client}", str(folder), "--config", file, "--dry-run"]) == 0
        assert f"certificate for {name}.test" in capsys.readouterr().out
        assert main([f"import-{client}", str(folder), "--config", file]) == 0
        out = capsys.readouterr().out
        assert "taken: certificate" in out
        assert f'[[site]] names = ["{name}.test"]' in out
        assert main([f"import-{client}", str(folder), "--state-dir", str(state), "--json"]) == 0
        assert not json.loads(capsys.readouterr().out)["taken"][0]["taken"]
        assert (state / "certificates" / f"{name}.test.pem").exists()
    assert main(["import-certbot", str(tmp_path / "none"), "--config", file]) == 1
    (le / "live" / "two.test" / "privkey.pem").unlink()
    (le / "archive" / "two.test" / "privkey1.pem").unlink()
    assert main(["import-certbot", str(le), "--config", file]) == 1
    assert "privkey.pem is missing" in capsys.readouterr().err


def test_folders_of_other_clients_that_cannot_be_looked_at(
    state: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They, and a user without a home, are only of interest to the imports, which say what is the matter."""

    def nobody(number: int) -> Any:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for home in ("/" + "x" * 300, None):
        monkeypatch.setenv("HOME", home) if home else monkeypatch.delenv("HOME")
        assert main(["status", "--state-dir", str(state)]) == 3
        for command, folder in (("import-acme.sh", []), ("import-acme.sh", ["~"]), ("import-certbot", ["~nosuch"])):
            assert main([command, *folder, "--state-dir", str(state)]) == 1
            said = capsys.readouterr().err
            assert "cannot read /xxx" in said or "~" in said


def test_the_first_folder_that_is_there_is_imported(
    state: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caddy's is its package's, or else its user's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(imports_of_caddy, "DEFAULTS", (tmp_path / "none", Path("~/caddy")))
    caddy.site(tmp_path / "caddy", caddy.ISSUER, "three.test", {})
    assert main(["import-caddy", "--dry-run", "--state-dir", str(state)]) == 0
    assert "certificate for three.test" in capsys.readouterr().out


def answering(answer: object) -> Callable[..., Any]:
    """In place of ``act`` or ``ask``: the answer, or the error."""

    def call(*_: object, **__: object) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return call


SITE = {
    "site": "one.test",
    "names": ["one.test"],
    "problem": None,
    "certificate": {"serial": "ab", "not_after": "2027-01-01T00:00:00+00:00"},
}
FAILED = {**SITE, "problem": {"message": "the CA said no", "ca": None, "names": []}}


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ({"site": SITE}, 0, "serves ab"),
        ({"site": FAILED}, 1, "one.test: the CA said no"),
        (CommandFailedError("not now"), 1, "not now"),
        (NotRunningError("nobody there"), 3, "nobody there"),
        (KeyboardInterrupt(), 1, "goes on in the service"),
    ],
)
def test_renew_and_rollback(
    monkeypatch: pytest.MonkeyPatch, capsys: Said, tmp_path: Path, answer: object, status: int, words: str
) -> None:
    """What comes of it, as exit status and in words; and as JSON."""
    monkeypatch.setattr(running, "act", answering(answer))
    for command in ("renew", "rollback"):
        assert main([command, "one.test", "--state-dir", str(tmp_path)]) == status
        said = capsys.readouterr()
        assert words in said.out + said.err
    assert main(["renew", "one.test", "--state-dir", str(tmp_path), "--json"]) == status
    out = capsys.readouterr().out
    assert not out or json.loads(out)


def test_rehearse(monkeypatch: pytest.MonkeyPatch, capsys: Said, tmp_path: Path) -> None:
    """Every site; those that fail do not keep the others from being tried."""
    monkeypatch.setattr(authorities, "ask", answering({"sites": [{"site": "one.test"}, {"site": "two.test"}]}))

    def act(folder: Path, command: str, timeout: float, *, site: str, **_: object) -> Any:
        if site == "one.test":
            raise CommandFailedError("no listener")
        return {"site": site, "here": {}, "staging": {"serial": "ab"}}

    monkeypatch.setattr(authorities, "act", act)
    assert main(["rehearse", "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "one.test: no listener",
        "two.test: would be certified (staging)",
    ]
    assert main(["rehearse", "two.test", "--state-dir", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rehearsals"][0]["site"] == "two.test"
    monkeypatch.setattr(authorities, "act", answering(NotRunningError("nobody there")))
    assert main(["rehearse", "two.test", "--state-dir", str(tmp_path)]) == 3
    monkeypatch.setattr(authorities, "ask", answering(ApplianceError("busy")))
    assert main(["rehearse", "--state-dir", str(tmp_path)]) == 1


def test_revoke_and_account(monkeypatch: pytest.MonkeyPatch, capsys: Said, tmp_path: Path) -> None:
    """What was done."""
    where = ["--state-dir", str(tmp_path)]
    monkeypatch.setattr(authorities, "act", answering({"site": "one.test", "revoked": "ab", "serves": "cd"}))
    assert main(["revoke", "one.test", *where]) == 0
    assert capsys.readouterr().out == "one.test: ab is revoked; cd is served\n"
    monkeypatch.setattr(authorities, "act", answering({"ca": "le", "account": "https://x/1"}))
    assert main(["account", "--rollover", *where]) == 0
    assert main(["account", "--rollover", "le", "--json", *where]) == 0
    details = '{"url": "https://x/1", "contact": ["mailto:a@b.example"]}'
    account = {"ca": "le", "directory": "https://x", "file": "/s/key.pem", "details": details}
    monkeypatch.setattr(authorities, "act", answering({"accounts": [account, {**account, "details": ""}]}))
    capsys.readouterr()
    assert main(["account", *where]) == 0
    out = capsys.readouterr().out
    assert "le: https://x/1 mailto:a@b.example" in out
    assert "not registered yet" in out
    for error, status in ((NotRunningError("nobody"), 3), (CommandFailedError("no"), 1)):
        monkeypatch.setattr(authorities, "act", answering(error))
        assert main(["account", *where]) == status


def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: Said, state: Path, tmp_path: Path) -> None:
    """All names of a site; what the service knows goes in, and what troubles it comes out."""
    seen: list[Any] = []

    def examine(patient: Any) -> list[Any]:
        seen.append(patient)
        return []

    monkeypatch.setattr(doctor, "examine", examine)
    assert main(["doctor", "one.test", "--config", config(tmp_path, state)]) == 0
    assert (seen[-1].names, seen[-1].probe) == (("one.test", "www.one.test"), None)
    site = {**FAILED, "saved": True, "alarm": "", "wire": {"problem": ""}, "export": "", "upstreams": []}
    monkeypatch.setattr(doctor, "ask", answering({"sites": [site]}))
    monkeypatch.setattr(doctor, "act", answering({"path": "/p", "answer": "a"}))
    capsys.readouterr()
    assert main(["doctor", "one.test", "--state-dir", str(state)]) == 0
    assert "one.test: the last order failed: the CA said no" in capsys.readouterr().out
    assert seen[-1].probe.path == "/p"
    assert seen[-1].certificate_serial == "ab"
    assert main(["doctor", "two.test", "--state-dir", str(state), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"findings": [], "troubles": []}
    assert main(["doctor", "one.test", "--resolver", "x", "--state-dir", str(state)]) == 2


def test_a_half_edited_file(monkeypatch: pytest.MonkeyPatch, capsys: Said, state: Path, tmp_path: Path) -> None:
    """It is none of the business of a service that runs; it counts where none does, and where only it can tell."""
    file = config(tmp_path, state)
    Path(file).write_text(Path(file).read_text().replace("upstream", "upsteam"))
    monkeypatch.setattr(running, "act", answering({"site": SITE}))
    seen: list[Any] = []
    monkeypatch.setattr(doctor, "examine", lambda patient: seen.append(patient) or [])
    names = ["one.test", "www.one.test"]
    site = {**SITE, "names": names, "saved": True, "alarm": "", "wire": {"problem": ""}, "export": "", "upstreams": []}
    monkeypatch.setattr(doctor, "ask", answering({"sites": [site]}))
    monkeypatch.setattr(doctor, "act", answering({"path": "/p", "answer": "a"}))
    asking = (
        ["renew", "one.test", "--json"],
        ["rollback", "one.test", "--json"],
        ["export", "one.test", "--to", str(tmp_path / "out")],
        ["doctor", "one.test"],
    )
    with somebody_listens(state):
        for arguments in asking:
            assert main([*arguments, "--config", file]) == 0, arguments
        assert seen[-1].names == tuple(names)
        for arguments in (["forget", "one.test"], ["logs"], ["status", "--config", f"{file}.none"]):
            assert main([*arguments, *([] if "--config" in arguments else ["--config", file])]) == 2, arguments
    capsys.readouterr()
    for arguments in (
        *asking[2:],
        ["renew", "one.test"],
        ["status"],
        ["maintenance", "on", "one.test"],
        ["account"],
        ["upgrade"],
    ):
        assert main([*arguments, "--config", file]) == 2, arguments
        assert "upsteam: is not known here: did you mean upstream?" in capsys.readouterr().err


def test_an_interruption_is_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the command."""
    monkeypatch.setattr(doctor, "examine", answering(KeyboardInterrupt()))
    assert main(["doctor", "one.test", "--state-dir", str(tmp_path)]) == 1
