"""The Debian package, from its sources to its purge, on a fresh Debian with systemd; run by ``tests/packaging/run``.

Built, checked by lintian, installed, put before an application with a certificate from Pebble, upgraded while requests
flow and WebSockets talk, removed, purged. Each step says what it saw, or fails.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from appliance import __version__
from tests.packaging.machine import Machine
from tests.packaging.package import build, complaints
from tests.support.appliance import Load, SiteConnection
from tests.support.applications import uvicorn
from tests.support.pebble import Pebble, running_pebble
from tests.support.processes import wait_for
from tests.support.talks import Talks

SITE = "one.test"
PACKAGES = ("systemd-sysv", "dbus", "python3", "ca-certificates", "logrotate", "bash-completion")
"""What the machine has before: the package's dependencies, and that it is a machine at all."""

CONFIGURATION = Path("etc/appliance/appliance.toml")
UNIT = "appliance.service"

_CLONE_NEWNET = 0x40000000

_LEFT = ("/etc/group", "/etc/passwd", "/etc/shadow", "/etc/gshadow", "/var/lib/dpkg", "/var/cache", "/var/log", "/tmp")
"""Where a purge may leave traces: accounts, what dpkg and apt note themselves."""

began = time.monotonic()


def say(what: str) -> None:
    """One line for a step."""
    print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)


class Site:
    """The appliance in the machine, as clients see it. Stands for `tests.support.appliance.Appliance`."""

    def client(self, name: str, root: bytes, timeout: float = 20.0) -> SiteConnection:
        """One that verifies."""
        return SiteConnection(name, 443, root, timeout)


def status(machine: Machine) -> dict[str, Any]:
    """What ``appliance status`` says."""
    found: dict[str, Any] = json.loads(machine.run("appliance", "status", "--json"))
    return found


def install(machine: Machine, package: Path, *options: str) -> str:
    """As an administrator would, without the network: all that it needs must be there. What is printed."""
    shutil.copy(package, machine.root / "root")
    return machine.run("apt-get", "install", "--yes", *options, f"/root/{package.name}")


def fresh(machine: Machine) -> None:
    """Installed: enabled, running, and it says that there is no site."""
    assert machine.run("systemctl", "is-enabled", UNIT).strip() == "enabled"
    assert machine.run("systemctl", "is-active", UNIT).strip() == "active", machine.run("journalctl", "-u", UNIT)
    journal = machine.run("journalctl", "--unit", UNIT)
    assert f"no site is configured yet: add a [[site]] to /{CONFIGURATION}" in journal, journal
    shown = machine.run("appliance", "status")
    assert "no site is configured yet" in shown, shown
    say(f"installed, enabled, running; status: {shown.splitlines()[-1].strip()}")
    assert machine.run("stat", "--format=%a %U", "/var/lib/appliance").strip() == "700 appliance"
    owner = machine.run("stat", "--format=%U", f"/proc/{status(machine)['pid']}").strip()
    assert owner == "appliance", owner
    for page in ("man1/appliance.1", "man8/twist-appliance.8", "man5/appliance.toml.5"):
        assert (machine.root / "usr/share/man" / f"{page}.gz").exists()
    script = "source /usr/share/bash-completion/bash_completion; _completion_loader appliance; complete -p appliance"
    assert "_appliance" in machine.run("bash", "-c", script)


def first_site(machine: Machine, pebble: Pebble, upstream: str) -> None:
    """A configuration by ``appliance init``, a reload, and there is a certificate."""
    shutil.copy(pebble.ca_file, machine.root / CONFIGURATION.parent / "ca.pem")
    given = ["--site", SITE, "--upstream", upstream, "--email", "admin@example.com", "--no-check"]
    given += ["--directory", pebble.directory_url, "--ca-file", f"/{CONFIGURATION.parent}/ca.pem"]
    machine.run("appliance", "init", *given)
    with (machine.root / CONFIGURATION).open("a") as file:
        file.write('\n[access_log]\nfile = "/var/log/appliance/access.log"\n')
    machine.run("appliance", "check")
    machine.run("systemctl", "reload", "appliance")
    wait_for(lambda: status(machine)["sites"][0]["certificate"], 60, "the certificate")


def served(root: bytes) -> None:
    """One request over TLS, verified."""
    with Site().client(SITE, root) as client:
        response = client.get("/echo")
        body = response.read()
        assert response.status == 200, (response.status, body)
        say(f"served: {response.status}, {len(body)} bytes, certificate {client.certificate().serial_number:x}")


def logs(machine: Machine, root: bytes) -> None:
    """The access log is rotated, and goes on in a new file."""
    log = machine.root / "var/log/appliance/access.log"
    wait_for(lambda: log.exists() and log.stat().st_size, 20, "the access log")
    machine.run("logrotate", "--force", "--state", "/run/logrotate.state", "/etc/logrotate.d/appliance")
    assert log.with_name("access.log.1").stat().st_size
    served(root)
    wait_for(lambda: log.stat().st_size, 20, "the new access log")
    say(f"logs are rotated: {oct(log.stat().st_mode & 0o777)}")


def upgraded(machine: Machine, package: Path, version: str, root: bytes) -> None:
    """While requests flow, on connections that stay and on new ones, and WebSockets talk: nobody notices."""
    before = status(machine)["pid"]
    with ExitStack() as stack:
        talks = stack.enter_context(Talks(443, SITE, root, 10).going_on())
        loops = [
            stack.enter_context(Load(Site(), SITE, root, "/echo", keep_alive=bool(number % 2)))  # type: ignore[arg-type]
            for number in range(4)
        ]
        wait_for(lambda: talks.open == 10 and all(loop.requests > 20 for loop in loops), 60, "requests before")
        started, counted = time.monotonic(), sum(loop.requests for loop in loops)
        printed = install(machine, package)
        lasted, during = time.monotonic() - started, sum(loop.requests for loop in loops) - counted
        after = [loop.requests for loop in loops]
        wait_for(
            lambda: all(loop.requests > n + 20 for loop, n in zip(loops, after, strict=True)), 60, "requests after"
        )
        heard = talks.messages
        wait_for(lambda: talks.messages > heard + 20, 60, "WebSockets that talk")
        now = status(machine)
        for loop in loops:
            loop.stop()
        failures = [failure for loop in loops for failure in loop.failures] + talks.failures
    assert not failures, failures
    assert (now["software"], now["pid"] != before) == (version, True), (now["software"], now["pid"], before, printed)
    main = machine.run("systemctl", "show", "--property=MainPID", "--value", UNIT).strip()
    assert main == str(now["pid"]), (main, now["pid"])
    assert machine.run("systemctl", "is-active", UNIT).strip() == "active"
    say(f"upgraded to {version} within {lasted:.1f} s: process {before} -> {now['pid']}, {during} requests meanwhile,"
        f" {sum(loop.requests for loop in loops)} in all, 10 WebSockets, 0 failures")  # fmt: skip


def held_back(machine: Machine, package: Path, root: bytes) -> None:
    """A version that cannot use the configuration: the old process goes on, and the installation says so."""
    before = status(machine)["pid"]
    good = (machine.root / CONFIGURATION).read_text()
    (machine.root / CONFIGURATION).write_text(f"nonsense = 1\n{good}")
    printed = install(machine, package, "--reinstall")
    assert "the old one goes on serving" in printed, printed
    assert "nonsense: is not known here" in printed, printed
    served(root)
    (machine.root / CONFIGURATION).write_text(good)
    assert status(machine)["pid"] == before
    say("a version that cannot use the configuration: said so, and the old process went on")


def removed(machine: Machine) -> None:
    """Stopped and gone, but for what was configured and obtained."""
    machine.run("apt-get", "remove", "--yes", "appliance")
    assert machine.run("find", "/proc", "-maxdepth", "1", "-user", "appliance", check=False).strip() == ""
    assert not (machine.root / "usr/lib/appliance").exists(), machine.run("find", "/usr/lib/appliance")
    assert not (machine.root / "usr/bin/appliance").is_symlink()
    assert (machine.root / CONFIGURATION).exists()
    assert (machine.root / f"var/lib/appliance/certificates/{SITE}.pem").exists()
    say("removed: nothing runs, the configuration and the certificates are there")


def purged(machine: Machine, before: set[str]) -> None:
    """Nothing is left that was not there before."""
    (machine.root / CONFIGURATION).with_name("ca.pem").unlink()  # not the package's, nor the program's
    machine.run("apt-get", "purge", "--yes", "appliance")
    left = {file for file in machine.files() - before if not file.startswith(_LEFT)}
    left |= {file for file in machine.files() if file.startswith("/var/log/appliance")}
    left -= {f"/root/{package.name}" for package in (machine.root / "root").glob("*.deb")}
    assert not left, sorted(left)
    assert not machine.run("systemctl", "list-unit-files", "appliance*", "--no-legend", check=False).strip()
    say(f"purged: nothing left; the account stays: {machine.run('getent', 'passwd', 'appliance').strip()}")


def network_of_our_own() -> None:
    """So that ports 80 and 443 are free, whatever runs here. Before any thread."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, metavar="DIR", help="a minimal root by debootstrap, copied, not changed")
    parser.add_argument("--keep", action="store_true", help="leave everything in the folder that is named at the end")
    options = parser.parse_args()
    later = f"{__version__.rpartition('.')[0]}.{int(__version__.rpartition('.')[2]) + 1}"
    work = Path(tempfile.mkdtemp(prefix="debian-package-"))
    try:
        journey(work, options.base, later)
    finally:
        if options.keep:
            say(f"everything is in {work}")
        else:
            shutil.rmtree(work)


def journey(work: Path, base: Path | None, later: str) -> None:
    """From sources to purge, in a folder."""
    first = build(work / "first")
    say(f"built {first.name}: {first.stat().st_size / 1e6:.1f} MB")
    told = complaints(first)
    assert not told, "\n".join(told)
    say("lintian: no errors, no warnings")
    second = build(work / "second", later)
    say(f"built {second.name}")
    life(work, first, second, later, base)
    say("all is well")


def life(work: Path, first: Path, second: Path, later: str, base: Path | None) -> None:
    """From installation to purge."""
    machine = Machine(work / "root")
    machine.prepare(PACKAGES, base)
    say("a fresh Debian is there")
    network_of_our_own()
    os.umask(0o022)
    with machine, running_pebble(80, tls_port=443) as pebble, uvicorn(work) as application:
        say(f"booted: {machine.run('systemctl', '--version').splitlines()[0]}")
        before = machine.files()
        install(machine, first)
        fresh(machine)
        first_site(machine, pebble, application.upstream)
        served(pebble.root())
        logs(machine, pebble.root())
        upgraded(machine, second, later, pebble.root())
        held_back(machine, second, pebble.root())
        removed(machine)
        purged(machine, before)


if __name__ == "__main__":
    main()
