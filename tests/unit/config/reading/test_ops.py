"""``[log]``, ``[access_log]`` and ``[metrics]``."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config.file import load
from appliance.config.ops import AccessLog, Log, Metrics
from appliance.errors import ConfigurationError

REST = '[acme]\nagree_tos = true\n[[site]]\nnames = ["a.example"]\nupstream = "http://127.0.0.1:1"\n'


def written(folder: Path, tables: str) -> Path:
    """A configuration with these tables in it."""
    file = folder / "appliance.toml"
    file.write_text(tables + "\n" + REST)
    return file


def mistakes(folder: Path, tables: str) -> list[str]:
    """What is wrong with it."""
    with pytest.raises(ConfigurationError) as refused:
        load(written(folder, tables))
    return [f"{mistake.path}: {mistake.message}" for mistake in refused.value.mistakes]


def test_nothing_by_default(tmp_path: Path) -> None:
    """No access log, no metrics; a log from info on."""
    loaded = load(written(tmp_path, ""))
    assert (loaded.log, loaded.access_log, loaded.metrics) == (Log(None, "info"), None, None)


def test_everything(tmp_path: Path) -> None:
    """All keys."""
    loaded = load(
        written(
            tmp_path,
            """
            [log]
            format = "journal"
            level = "warn"
            [access_log]
            file = "access.log"
            format = "combined"
            redact = ["IBAN", "member"]
            request_id_header = "X-Request-Id"
            [metrics]
            listen = ["tcp:9145:interface=127.0.0.1", "tcp6:9145:interface=\\\\:\\\\:1", "unix:/run/m.sock:mode=660"]
            max_sites = 5
            """,
        )
    )
    assert loaded.log == Log("journal", "warn")
    assert loaded.access_log == AccessLog(tmp_path / "access.log", "combined", ("iban", "member"), "X-Request-Id")
    listen = ("tcp:9145:interface=127.0.0.1", "tcp6:9145:interface=\\:\\:1", "unix:/run/m.sock:mode=660")
    assert loaded.metrics == Metrics(listen, False, 5)


def test_standard_output(tmp_path: Path) -> None:
    """A dash."""
    assert load(written(tmp_path, '[access_log]\nfile = "-"')).access_log == AccessLog(None)


@pytest.mark.parametrize(
    ("table", "mistake"),
    [
        ('[access_log]\nfile = "."', "access_log.file: must be a file"),
        ('[access_log]\nfile = "missing/access.log"', "access_log.file: must be in a folder that is there"),
        ('[access_log]\nformat = "json"', "access_log.file: is missing"),
        ('[access_log]\nfile = "-"\nredact = ["api_key"]', "access_log.redact[0]: must be one word"),
        (
            '[access_log]\nfile = "-"\nrequest_id_header = "Cookie"',
            "access_log.request_id_header: must be a field name",
        ),
        ('[access_log]\nfile = "-"\nrequest_id_header = "X Y"', "access_log.request_id_header: must be a field name"),
        ('[log]\nlevel = "loud"', "log.level: must be"),
        ("[metrics]\npublic = true", "metrics.listen: is missing"),
        ('[metrics]\nlisten = "tcp:9145"', 'metrics.listen: "tcp:9145" may be open to other machines'),
        ('[metrics]\nlisten = "tcp:9145:interface=192.0.2.1"', "metrics.listen: "),
        ('[metrics]\nlisten = "tcp:9145:interface=localhost"', "metrics.listen: "),
        ('[metrics]\nlisten = "systemd:domain=INET:index=0"', "metrics.listen: "),
        ('[metrics]\nlisten = "unix:/run/metrics.sock"', "metrics.listen: must not be for all users of this machine"),
        ('[metrics]\nlisten = "unix:/run/metrics.sock:mode=666"', "metrics.listen: must not be for all users"),
    ],
)
def test_refused(tmp_path: Path, table: str, mistake: str) -> None:
    """What cannot be, or would tell strangers."""
    (found,) = mistakes(tmp_path, table)
    assert found.startswith(mistake)


def test_public_if_that_is_wanted(tmp_path: Path) -> None:
    """For an internal network, or for what systemd passes."""
    table = '[metrics]\nlisten = ["tcp:9145", "systemd:domain=INET:index=0"]\npublic = true'
    assert load(written(tmp_path, table)).metrics == Metrics(("tcp:9145", "systemd:domain=INET:index=0"), True)


def test_without_buttons(tmp_path: Path) -> None:
    """The status page is then only for reading."""
    listen = 'listen = "tcp:9145:interface=127.0.0.1"'
    for line, buttons in (("", True), ("buttons = false", False)):
        metrics = load(written(tmp_path, f"[metrics]\n{listen}\n{line}")).metrics
        assert metrics is not None
        assert metrics.buttons is buttons
