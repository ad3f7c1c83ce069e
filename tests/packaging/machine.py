"""A fresh Debian in a folder, with systemd as its first process: in namespaces of its own, but for the network."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import wait_for

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"

_FROM_HERE = ("etc/resolv.conf", "etc/apt/apt.conf.d/99*", "etc/apt/sources.list.d/*.sources")
"""What the root needs of this machine's settings to reach the mirror."""

_BOOT = """\
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
hostname machine
mkdir -p "$root/before"
cd "$root"
pivot_root . before
exec env -i container=namespaces PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /bin/sh -c \\
    'umount -l /before; rmdir /before; exec /lib/systemd/systemd'
"""


class Machine:
    """As a context manager it is booted, and ended with all that runs in it."""

    def __init__(self, root: Path) -> None:
        """``root`` is its file system; ``prepare`` makes it."""
        self.root = root
        self._boot: subprocess.Popen[bytes] | None = None
        self._group = _cgroups() / f"machine-{os.getpid()}"

    def prepare(self, packages: Sequence[str], base: Path | None) -> None:
        """Install Debian, and these packages of it. ``base`` is a folder with a minimal one that is copied instead."""
        if base is None:
            subprocess.run(
                ["debootstrap", "--variant=minbase", SUITE, self.root, MIRROR],
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=900,
            )
        else:
            subprocess.run(["cp", "-a", base, self.root], check=True, timeout=300)
        for pattern in _FROM_HERE:
            for file in Path("/").glob(pattern):
                shutil.copy(file, self.root / file.relative_to("/"))
        if any((self.root / "etc/apt/sources.list.d").iterdir()):
            (self.root / "etc/apt/sources.list").write_text("")
        self._in_chroot("apt-get", "update", "-qq")
        self._in_chroot("apt-get", "install", "-qq", "--no-install-recommends", *packages)

    def _in_chroot(self, *command: str) -> None:
        environment = {"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        subprocess.run(
            ["chroot", self.root, *command], check=True, env=environment, capture_output=True, text=True, timeout=600
        )

    def __enter__(self) -> Self:
        self._group.mkdir()
        inside = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]
        boot = f'echo $$ >{self._group}/cgroup.procs; exec {" ".join(inside)} /bin/sh -c "$2" boot "$1"'
        self._boot = subprocess.Popen(
            ["/bin/sh", "-c", boot, "boot", str(self.root), _BOOT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._is_up, 60, "systemd is up")
        return self

    def _is_up(self) -> bool:
        assert self._boot is not None
        assert self._boot.poll() is None, "systemd did not start"
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{self._first()}/comm").read_text().strip() == "systemd":
                return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")
        return False

    def _first(self) -> int:
        """Systemd's number here."""
        assert self._boot is not None
        children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def run(self, *command: str, check: bool = True, seconds: float = 120) -> str:
        """What a command prints that root runs there, standard error included."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._first()), "--all", *command],
            env={"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def files(self) -> set[str]:
        """Every file and folder there is on its disk."""
        listed = self.run("find", "/", "-xdev", "-not", "-path", "/proc/*", "-not", "-path", "/var/log/journal/*")
        return set(listed.splitlines())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._boot is not None
        self._boot.kill()
        self._boot.wait(30)
        wait_for(self._group_is_gone, 30, "the end of all that ran in the machine")

    def _group_is_gone(self) -> bool:
        try:
            for folder, _, _ in os.walk(self._group, topdown=False):
                os.rmdir(folder)
        except OSError:
            return False
        return True


def _cgroups() -> Path:
    """Where the unified hierarchy of control groups is."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise FileNotFoundError("there is no cgroup2 hierarchy here, which systemd needs")
