"""The appliance with many sites: their certificates and renewal records on disk, as years of service leave them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from appliance.acme.state import Attempt, RenewalState
from bench.credentials import HOST, Issuer
from bench.proxies import Appliance, Setting

SITE = """
[[site]]
names = ["{name}", "www.{name}"]
upstream = "http://127.0.0.1:{origin}"
"""


class ManySites(Appliance):
    """So many sites; the last of them is the one that every client asks for."""

    def __init__(self, sites: int, generations: int = 1) -> None:
        """With ``generations = 2`` that one has a previous certificate, to go back to."""
        self.sites = sites
        self._generations = generations

    def prepare(self, setting: Setting) -> list[str]:
        """Write appliance.toml, a certificate and a renewal record for each site."""
        command = super().prepare(setting)
        settings = setting.folder / "appliance.toml"
        head, _, _ = settings.read_text().partition("[[site]]")
        names = [f"site-{number}.example" for number in range(1, self.sites)] + [HOST]
        settings.write_text(head + "".join(SITE.format(name=name, origin=setting.origin) for name in names))
        state = setting.folder / "state"
        (state / "renewal").mkdir(mode=0o700)
        issuer = Issuer(setting.credentials)
        for name in names:
            _write(state / "certificates" / f"{name}.pem", issuer.issue(name, f"www.{name}"))
            _write(state / "renewal" / f"{name}.json", _record(name))
        if self._generations > 1:
            _write(state / "certificates" / f"{HOST}.pem.previous", issuer.issue(HOST, f"www.{HOST}"))
        return command


def _record(name: str) -> bytes:
    names = (name, f"www.{name}")
    then = datetime.now(UTC) - timedelta(days=1)
    begun = RenewalState().begin(names, then, then).remember(Attempt(then, names, "a CA", ""))
    return begun.succeed(then, "a CA").to_json()


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
